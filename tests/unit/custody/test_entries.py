"""Files of root and of other accounts: what root opens, reads, writes and changes where others may replace them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rigs.ordinary_user import NOBODY

from ioconnect.custody import files
from ioconnect.custody.entries import Untrusted, flaw
from ioconnect.errors import CannotCreate

if TYPE_CHECKING:
    from collections.abc import Callable

OTHER = NOBODY - 1  # a uid without an account

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root acts on behalf of other accounts")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file that only root may read."""
    path = tmp_path / "shadow"
    path.write_bytes(b"root:$6$secret\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder of another account."""
    return folder_of(NOBODY, tmp_path / "theirs")


def folder_of(uid: int, path: Path) -> Path:
    path.mkdir(mode=0o755)
    os.chown(path, uid, uid)
    return path


def file_of(uid: int, path: Path, content: bytes = b"content", mode: int = 0o600) -> Path:
    path.write_bytes(content)
    os.chown(path, uid, uid)
    path.chmod(mode)
    return path


def link_of(uid: int, path: Path, target: Path) -> Path:
    path.symlink_to(target)
    os.chown(path, uid, uid, follow_symlinks=False)
    return path


READ_AND_CHANGE = [
    lambda path: files.read_regular(path, limit=100),
    lambda path: os.close(files.open_to_change(path)),
]


@pytest.mark.parametrize("act", READ_AND_CHANGE)
def test_a_link_of_another_account_leads_root_nowhere(
    theirs: Path, secret: Path, act: Callable[[Path], object]
) -> None:
    link = link_of(NOBODY, theirs / "pins", secret)
    inner = link_of(NOBODY, theirs / "folder", secret.parent)

    for path, component in ((link, link), (inner / secret.name, inner)):
        with pytest.raises(Untrusted) as caught:
            act(path)
        assert f"{component} is a link, and {theirs} belongs to nobody" in caught.value.strerror


@pytest.mark.parametrize("act", READ_AND_CHANGE)
def test_a_second_name_of_roots_file_is_not_opened(theirs: Path, secret: Path, act: Callable[[Path], object]) -> None:
    os.link(secret, theirs / "pins")

    with pytest.raises(Untrusted, match=r"2 names \(hard links\)"):
        act(theirs / "pins")


def test_a_file_that_an_account_got_from_elsewhere_is_not_opened(theirs: Path) -> None:
    file_of(OTHER, theirs / "pins")

    with pytest.raises(Untrusted, match=f"it belongs to uid {OTHER}"):
        files.read_regular(theirs / "pins", limit=100)


def test_a_file_of_roots_in_anothers_folder_is_read_and_never_opened_to_all(theirs: Path) -> None:
    file_of(0, theirs / "pins")

    assert files.read_regular(theirs / "pins", limit=100)[0] == b"content"
    with pytest.raises(Untrusted, match="it belongs to root"):
        files.open_to_change(theirs / "pins")


def test_a_pipe_of_another_account_holds_nobody_up(theirs: Path) -> None:
    os.mkfifo(theirs / "status.json")

    with pytest.raises(OSError, match="not a regular file"):
        files.read_regular(theirs / "status.json", limit=100)


def test_links_that_only_root_can_make_are_followed(tmp_path: Path, secret: Path) -> None:
    """As systemd's /var/lib/ioconnect leads to /var/lib/private/ioconnect, which is the service's."""
    (tmp_path / "relative").symlink_to(Path("..") / tmp_path.name / secret.name)
    link_of(0, tmp_path / "state", folder_of(NOBODY, tmp_path / "private"))
    file_of(NOBODY, tmp_path / "private" / "status.json")

    assert files.read_regular(tmp_path / "relative", limit=100)[0] == b"root:$6$secret\n"
    assert files.read_regular(tmp_path / "state" / "status.json", limit=100)[0] == b"content"


def test_a_link_in_a_folder_where_anybody_may_write_is_its_owners(tmp_path: Path, secret: Path) -> None:
    """As in /tmp, where the sticky bit lets only the owner replace what is there."""
    shared = folder_of(0, tmp_path / "shared")
    shared.chmod(0o1777)
    link_of(0, shared / "roots", secret)
    link_of(NOBODY, shared / "theirs", secret)

    assert files.read_regular(shared / "roots", limit=100)[0].startswith(b"root")
    with pytest.raises(Untrusted, match=r"theirs is a link, and .*theirs belongs to nobody"):
        files.read_regular(shared / "theirs", limit=100)
    shared.chmod(0o777)
    with pytest.raises(Untrusted, match="anybody may write"):
        files.read_regular(shared / "roots", limit=100)


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")

    with pytest.raises(OSError, match="Too many levels"):
        files.read_regular(tmp_path / "a", limit=100)


def test_what_root_replaces_keeps_its_owner_and_is_never_set_user_id(theirs: Path) -> None:
    path = file_of(NOBODY, theirs / "config.toml", mode=0o4755)
    os.chown(path, NOBODY, OTHER)

    files.write_atomically(path, b"new", mode=0o4755)

    facts = path.stat()
    assert (facts.st_uid, facts.st_gid, facts.st_mode & 0o7777) == (NOBODY, OTHER, 0o755)
    assert path.read_bytes() == b"new"


def test_what_root_makes_in_anothers_folder_is_that_accounts(theirs: Path) -> None:
    files.write_new(theirs / "new", b"")
    files.write_atomically(theirs / "other", b"")
    files.make_folder(theirs / "a" / "b")

    assert {path.stat().st_uid for path in theirs.rglob("*")} == {NOBODY}


def test_a_link_in_the_place_of_the_file_is_replaced_and_its_target_left(theirs: Path, secret: Path) -> None:
    link = link_of(NOBODY, theirs / "known_hosts", secret)

    files.write_atomically(link, b"pins", mode=0o644)

    assert not link.is_symlink()
    assert link.stat().st_uid == NOBODY
    assert (secret.read_bytes(), secret.stat().st_mode & 0o777) == (b"root:$6$secret\n", 0o600)


@pytest.mark.parametrize(
    "act",
    [
        lambda path: files.write_atomically(path, b""),
        lambda path: files.write_new(path, b""),
        files.make_folder,
    ],
)
def test_root_writes_nothing_through_a_link_of_another_account(
    theirs: Path, tmp_path: Path, act: Callable[[Path], object]
) -> None:
    etc = folder_of(0, tmp_path / "etc")
    link_of(NOBODY, theirs / "config", etc)

    with pytest.raises(CannotCreate, match="is a link"):
        act(theirs / "config" / "new")

    assert list(etc.iterdir()) == []


def test_root_keeps_no_file_open_for_writing_in_anothers_folder(theirs: Path) -> None:
    with pytest.raises(Untrusted, match=f"{theirs} belongs to nobody"):
        files.open_to_write(theirs / "agent.lock", os.O_RDWR | os.O_CREAT)

    assert list(theirs.iterdir()) == []


def test_a_path_has_no_flaw_if_only_root_may_change_it(tmp_path: Path, secret: Path, theirs: Path) -> None:
    assert flaw(secret) is None
    assert flaw(tmp_path / "missing") is None

    found = flaw(theirs / "missing")
    assert found is not None
    assert (found.description, found.remedy) == (f"{theirs} belongs to nobody", f"chown root {theirs}")


def test_each_component_of_a_path_is_judged(tmp_path: Path, theirs: Path) -> None:
    folder = folder_of(0, tmp_path / "etc")
    file = file_of(0, folder / "config.toml")
    through = link_of(0, tmp_path / "link", file_of(NOBODY, theirs / "key"))
    cases = [
        (through, f"{theirs} belongs to nobody", lambda: None),
        (file, f"anybody may write {file}", lambda: file.chmod(0o666)),
        (file, f"the group nogroup may write {file}", lambda: (file.chmod(0o620), os.chown(file, 0, NOBODY))),
        (file, f"{file} belongs to uid {OTHER}", lambda: os.chown(file, OTHER, 0)),
        (file, f"anybody may write {folder}", lambda: folder.chmod(0o777)),
    ]

    for path, expected, prepare in cases:
        prepare()
        found = flaw(path)
        assert found is not None
        assert found.description == expected


def test_a_group_of_roots_alone_may_write(tmp_path: Path) -> None:
    file = file_of(0, tmp_path / "file", mode=0o660)

    assert flaw(file) is None
