"""Files of root and of other accounts: what root opens, reads, writes and changes where others may replace them."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.rigs.ordinary_user import NOBODY
from tests.rigs.owned_files import OTHER, file_of, folder_of, link_of

from ioconnect.custody import descriptors, files
from ioconnect.custody.entries import Untrusted, custody_of
from ioconnect.errors import CannotCreate, ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

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


READ_AND_CHANGE = [
    lambda path: files.read_regular(path, limit=100),
    lambda path: os.close(descriptors.open_to_change(path)),
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
        descriptors.open_to_change(theirs / "pins")


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
        descriptors.open_to_write(theirs / "agent.lock", os.O_RDWR | os.O_CREAT)

    assert list(theirs.iterdir()) == []


def test_a_path_is_in_nobodys_custody_if_only_root_may_change_it(tmp_path: Path, secret: Path, theirs: Path) -> None:
    assert custody_of(secret) is None
    assert custody_of(tmp_path / "missing") is None

    found = custody_of(theirs / "missing")
    assert found is not None
    assert found.description == f"{theirs} belongs to nobody"
    assert found.remedy.startswith(f"chown -R root {theirs} if that folder is for ioconnect alone, else move it")


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
        found = custody_of(path)
        assert found is not None
        assert found.description == expected


def test_a_group_of_roots_alone_may_write(tmp_path: Path) -> None:
    file = file_of(0, tmp_path / "file", mode=0o660)

    assert custody_of(file) is None


@pytest.mark.parametrize("below", ["missing/config.toml", "plain/config.toml", "closed/sub/config.toml"])
def test_a_path_that_cannot_be_followed_is_judged_as_far_as_it_can(theirs: Path, below: str) -> None:
    """Its owner may make the rest of it at any moment."""
    file_of(NOBODY, theirs / "plain")
    folder_of(NOBODY, theirs / "closed").chmod(0)

    found = custody_of(theirs / below)

    assert found is not None
    assert found.description == f"{theirs} belongs to nobody"


def test_what_cannot_be_told_is_in_anybodys_custody_for_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a folder of a network's file system that keeps root out."""
    folder = folder_of(0, tmp_path / "etc")
    real = os.stat

    def refuse(path: str, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
        if path == "config.toml":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(os, "stat", refuse)
    found = custody_of(folder / "config.toml")

    assert found is not None
    assert found.description == f"it cannot be told who may change {folder / 'config.toml'}: Permission denied"


@pytest.mark.parametrize("is_first", [True, False])
def test_a_folder_that_comes_and_goes_is_never_read(
    theirs: Path, monkeypatch: pytest.MonkeyPatch, *, is_first: bool
) -> None:
    """An account renames a folder away and back while root looks: root says whose it is, whenever that is."""
    folder, away, real = folder_of(NOBODY, theirs / "sub"), theirs / "away", os.open
    file_of(NOBODY, folder / "known_hosts")
    if is_first:
        folder.rename(away)

    def flip(*arguments: Any, **named: Any) -> int:
        (away.rename if away.exists() else folder.rename)(folder if away.exists() else away)
        return real(*arguments, **named)

    monkeypatch.setattr(os, "open", flip)
    for _ in range(2):
        with pytest.raises(Untrusted, match=f"{theirs} belongs to nobody"):
            files.read_regular(folder / "known_hosts", limit=100, trusted=frozenset())


def test_root_reads_for_its_agent_what_it_alone_may_change(tmp_path: Path, theirs: Path) -> None:
    folder = folder_of(0, tmp_path / "etc")
    file = file_of(0, folder / "config.toml", mode=0o644)

    def read(path: Path = file, *trusted: int) -> bytes:
        return files.read_regular(path, limit=100, trusted=frozenset(trusted))[0]

    assert read() == b"content"
    assert descriptors.names_in(folder, trusted=frozenset()) == ["config.toml"]
    file.chmod(0o666)
    with pytest.raises(Untrusted, match=f"root does not use {file}: anybody may write {file}"):
        read()
    os.chown(file, NOBODY, 0)
    with pytest.raises(Untrusted, match=f"anybody may write {file}"):
        read(file, NOBODY)
    file.chmod(0o644)
    assert read(file, NOBODY) == b"content"
    with pytest.raises(Untrusted, match=f"{file} belongs to nobody"):
        read(file, OTHER)
    with pytest.raises(Untrusted, match=f"root does not use {theirs / 'missing'}: {theirs} belongs to nobody"):
        read(theirs / "missing")
    with pytest.raises(Untrusted, match=f"{theirs} belongs to nobody"):
        descriptors.names_in(theirs, trusted=frozenset())
    assert descriptors.names_in(theirs, trusted=frozenset({NOBODY})) == []


def test_no_command_is_given_for_a_folder_further_up(tmp_path: Path) -> None:
    """`chown root /home/ann` or `chmod g-w /var/log` would break what is not ours."""
    home = folder_of(NOBODY, tmp_path / "home of ann")
    own = folder_of(0, home / "ioconnect")
    file = file_of(0, own / "config.toml")

    found = custody_of(file)
    assert found is not None
    assert found.remedy == "move it into folders that only root may change"

    os.chown(home, 0, 0)
    own.chmod(0o777)
    found = custody_of(file)
    assert found is not None
    assert found.remedy.startswith(f"chmod -R go-w '{own}' if that folder is for ioconnect alone, else move it")

    own.chmod(0o755)
    file.chmod(0o666)
    found = custody_of(file)
    assert found is not None
    assert found.remedy == f"chmod go-w '{file}'"


def test_a_refusal_is_no_error_of_the_system(theirs: Path, secret: Path) -> None:
    """What goes on without a file that cannot be read does not go on without saying so here."""
    link_of(NOBODY, theirs / "pins", secret)

    with pytest.raises(Untrusted) as caught, contextlib.suppress(OSError):
        files.read_regular(theirs / "pins", limit=100)

    assert isinstance(caught.value, ConfigInvalid)
