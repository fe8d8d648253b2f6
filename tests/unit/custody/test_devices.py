"""What root opens is of the right type before it is opened: open(2) alone makes some devices act."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rigs.owned_files import file_of

from ioconnect.custody import descriptors, files

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root is kept from opening them")

OPENING: list[Callable[[Path], object]] = [
    lambda path: files.read_regular(path, limit=100),
    lambda path: os.close(descriptors.open_to_write(path, os.O_WRONLY | os.O_CREAT)),
    lambda path: os.close(descriptors.open_to_lock(path)),
    lambda path: os.close(descriptors.open_to_change(path)),
    lambda path: os.close(descriptors.open_log(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)),
]
without_proc = pytest.mark.parametrize("proc", [Path("/proc/self/fd"), Path("/nowhere")])


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what was opened in earnest."""
    names: list[str] = []
    os_open = os.open

    def spied(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if not flags & os.O_PATH:
            names.append(os.path.basename(path))  # noqa: PTH119
        return os_open(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", spied)
    return names


@without_proc
@pytest.mark.parametrize("act", OPENING)
def test_no_device_is_opened(
    monkeypatch: pytest.MonkeyPatch, opened: list[str], act: Callable[[Path], object], proc: Path
) -> None:
    """As /dev/watchdog; /dev/ptmx made a terminal, in a dry run of `import`."""
    monkeypatch.setattr(descriptors, "_DESCRIPTORS", proc)
    before = set(os.listdir("/dev/pts"))  # noqa: PTH208

    with pytest.raises(OSError, match="it is not a regular file"):
        act(Path("/dev/ptmx"))

    assert opened == []
    assert set(os.listdir("/dev/pts")) == before  # noqa: PTH208


@without_proc
def test_a_file_is_made_read_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proc: Path) -> None:
    monkeypatch.setattr(descriptors, "_DESCRIPTORS", proc)
    path = tmp_path / "log"

    for flags in (os.O_CREAT, os.O_CREAT, os.O_APPEND):
        descriptor = descriptors.open_to_write(path, os.O_WRONLY | flags)
        os.write(descriptor, b"one")
        os.close(descriptor)

    assert files.read_regular(path, limit=100)[0] == b"oneone"
    assert path.stat().st_mode & 0o7777 == 0o600
    with pytest.raises(FileNotFoundError):
        files.read_regular(tmp_path / "missing", limit=100)


@without_proc
def test_a_link_that_came_meanwhile_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proc: Path
) -> None:
    monkeypatch.setattr(descriptors, "_DESCRIPTORS", proc)
    (tmp_path / "target").touch()
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "nowhere").symlink_to("missing")

    for name in ("link", "nowhere"):
        with pytest.raises(OSError, match="Too many levels"):
            descriptors.open_to_write(tmp_path / name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW)
    assert not (tmp_path / "missing").exists()


def test_what_is_replaced_between_the_look_and_the_opening_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whatever the name stands for then: it is looked at again."""
    monkeypatch.setattr(descriptors, "_DESCRIPTORS", Path("/nowhere"))
    path, other = file_of(0, tmp_path / "pins"), file_of(0, tmp_path / "other", b"other")
    os_open, swaps = os.open, [1]

    def swapping(name: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if name == "pins" and swaps:
            swaps.pop()
            other.rename(path)
        return os_open(name, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", swapping)

    content, facts = files.read_regular(path, limit=100)

    assert swaps == []
    assert content == b"other"
    assert os.path.samestat(facts, path.stat())
