"""Folders in which others may add files, as /tmp or a team's: what root reads, opens and writes there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from tests.rigs.ordinary_user import NOBODY
from tests.rigs.owned_files import OTHER, file_of, folder_of, link_of

from ioconnect.custody import descriptors, files
from ioconnect.custody.entries import Untrusted, custody_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root acts on behalf of other accounts")

READ_AND_CHANGE = [
    lambda path: files.read_regular(path, limit=100),
    lambda path: os.close(descriptors.open_to_change(path)),
]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file that only root may read."""
    return file_of(0, tmp_path / "shadow", b"root:$6$secret\n")


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder where anybody may add files, and replace their own only (as /tmp)."""
    path = folder_of(0, tmp_path / "shared")
    path.chmod(0o1777)
    return path


@pytest.mark.parametrize("act", READ_AND_CHANGE)
def test_a_second_name_in_a_shared_folder_is_anybodys(
    shared: Path, secret: Path, act: Callable[[Path], object]
) -> None:
    """Anybody may have made it, where the kernel does not forbid that (fs.protected_hardlinks)."""
    os.link(secret, shared / "pins")

    with pytest.raises(Untrusted, match=rf"2 names \(hard links\), and anybody may write {shared}"):
        act(shared / "pins")

    link_of(0, shared.parent / "link", secret)
    os.link(shared.parent / "link", shared / "link", follow_symlinks=False)
    with pytest.raises(Untrusted, match="is a link, and anybody may write"):
        act(shared / "link")


@pytest.mark.parametrize("name", ["program", "missing", "missing/below"])
def test_what_somebody_may_have_put_there_is_not_roots(shared: Path, secret: Path, name: str) -> None:
    """A second name of a file of root's decides which of them root uses; a name that is missing may come."""
    os.link(secret, shared / "program")

    found = custody_of(shared / name)

    assert found is not None
    assert found.description == f"anybody may write {shared}"
    assert found.remedy == "move it into folders that only root may change"
    assert custody_of(secret) is None


def test_files_that_a_package_manager_links_from_its_cache_are_roots(tmp_path: Path, shared: Path) -> None:
    """As uv and conda do; only root made that name, and only root may write the file, whatever its other names."""
    cached = file_of(0, folder_of(0, shared / "cache") / "module.py")
    module = folder_of(0, tmp_path / "site-packages") / "module.py"
    os.link(cached, module)
    os.link(cached, shared / "module.py")

    assert custody_of(module) is None
    assert files.read_regular(module, limit=100, trusted=frozenset())[0] == b"content"
    module.chmod(0o666)
    assert custody_of(module) is not None
    module.chmod(0o644)
    os.chown(module, NOBODY, 0)
    assert custody_of(module) is not None


def test_roots_own_file_in_a_shared_folder_is_roots(shared: Path) -> None:
    path = file_of(0, shared / "config.toml")

    assert custody_of(path) is None
    assert files.read_regular(path, limit=100, trusted=frozenset())[0] == b"content"
    os.close(descriptors.open_to_change(path))
    os.close(descriptors.open_to_write(shared / "agent.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND))


@pytest.mark.parametrize(
    "open_it",
    [
        lambda path: descriptors.open_to_write(path, os.O_RDWR),
        lambda path: descriptors.open_log(path, os.O_WRONLY),
        lambda path: files.read_regular(path, limit=100, trusted=frozenset()),
    ],
)
def test_a_file_that_came_after_the_look_is_judged_as_opened(
    shared: Path, monkeypatch: pytest.MonkeyPatch, open_it: Callable[[Path], int]
) -> None:
    path, real = (
        shared / "agent.log",
        os.open,
    )  # without O_CREAT: fs.protected_regular forbids it then, where it is set

    def come(name: str, *arguments: Any, **named: Any) -> int:
        if name == path.name:
            file_of(NOBODY, path)
        return real(name, *arguments, **named)

    monkeypatch.setattr(os, "open", come)
    with pytest.raises(Untrusted, match=f"{path} belongs to nobody"):
        open_it(path)


def test_nothing_that_root_writes_in_a_shared_folder_is_given_away(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The account whose file has the name would get the key."""
    path = file_of(NOBODY, shared / "id_ed25519")
    given: list[object] = []
    monkeypatch.setattr(os, "fchown", lambda *arguments: given.append(arguments))

    assert not files.write_new(path, b"secret")
    files.write_atomically(path, b"secret")

    assert (path.stat().st_uid, given) == (0, [])


def test_a_secret_is_not_given_away_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root's folder, an account's file: a new file of that name is not made, and was never that account's."""
    path = file_of(NOBODY, tmp_path / "id_ed25519")
    given: list[object] = []
    monkeypatch.setattr(os, "fchown", lambda *arguments: given.append(arguments))

    assert not files.write_new(path, b"secret")

    assert given == []


def test_a_member_of_a_folders_group_gets_no_file_of_roots(tmp_path: Path) -> None:
    folder = folder_of(0, tmp_path / "team")
    path = file_of(NOBODY, folder / "id_ed25519")
    os.chown(folder, 0, NOBODY)
    folder.chmod(0o775)

    files.write_atomically(path, b"secret")

    assert path.stat().st_uid == 0


def test_a_file_that_others_may_write_in_the_folder_of_a_trusted_account_is_not_read(tmp_path: Path) -> None:
    """The folder says who may replace the file; its own mode who else may write it."""
    folder = folder_of(NOBODY, tmp_path / "theirs")
    pins = file_of(NOBODY, folder / "known_hosts", mode=0o644)

    assert files.read_regular(pins, limit=100, trusted=frozenset({NOBODY}))[0] == b"content"
    pins.chmod(0o666)
    with pytest.raises(Untrusted, match=f"anybody may write {pins}"):
        files.read_regular(pins, limit=100, trusted=frozenset({NOBODY}))
    pins.unlink()
    file_of(OTHER, pins, mode=0o644)
    with pytest.raises(Untrusted, match=f"{pins} belongs to uid {OTHER}"):
        files.read_regular(pins, limit=100, trusted=frozenset({NOBODY}))
    folder.chmod(0o777)
    with pytest.raises(Untrusted, match=f"anybody may write {folder}"):
        descriptors.names_in(folder, trusted=frozenset({NOBODY}))
