"""Reading regular files with a size limit, and writing them atomically."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.rigs import ordinary_user

from ioconnect.custody.files import make_folder, read_regular, write_atomically, write_new
from ioconnect.errors import CannotCreate, ExitCode

# On a file system of the given size nothing more fits; the limit makes root feel it too.
FULL_DISK = """
import resource, sys
from pathlib import Path
from ioconnect import errors
from ioconnect.custody import files
resource.setrlimit(resource.RLIMIT_FSIZE, (4, 4))
try:
    files.WRITE(Path(sys.argv[1]), b"longer than four")
except errors.CannotCreate as error:
    print(error.message)
"""


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("write", [write_atomically, write_new])
def test_a_new_file_has_its_mode_whatever_the_umask(tmp_path: Path, write: object) -> None:
    assert callable(write)
    old = os.umask(0)
    try:
        write(tmp_path / "secret", b"content")
        write(tmp_path / "public", b"content", mode=0o644)
    finally:
        os.umask(old)

    assert (tmp_path / "secret").read_bytes() == b"content"
    assert (tmp_path / "secret").stat().st_mode & 0o7777 == 0o600
    assert (tmp_path / "public").stat().st_mode & 0o7777 == 0o644
    assert names(tmp_path) == ["public", "secret"]


def test_replacing_gives_a_new_file_and_leaves_old_readers_theirs(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o666)

    with path.open("rb") as reader:
        write_atomically(path, b"new")
        assert reader.read() == b"old"

    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o7777 == 0o600
    assert names(tmp_path) == ["file"]


def test_a_file_that_is_there_is_not_new(tmp_path: Path) -> None:
    path = tmp_path / "file"

    assert write_new(path, b"first")
    assert not write_new(path, b"second")

    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("function", ["write_atomically", "write_new"])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, function: str) -> None:
    code = FULL_DISK.replace("WRITE", function)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "file")], capture_output=True, text=True, timeout=30, check=True
    )

    assert done.stdout == f"cannot write {tmp_path / 'file'}: File too large\n"
    assert names(tmp_path) == []


def test_a_read_only_folder_is_named_with_what_to_do() -> None:
    with ordinary_user.folder(mode=0o555) as folder:
        shown = ordinary_user.run(
            "from pathlib import Path; from ioconnect import errors; from ioconnect.custody import files",
            f"""
folder = Path({str(folder)!r})
for act in (lambda: files.write_atomically(folder / "file", b""), lambda: files.make_folder(folder / "new")):
    try:
        act()
    except errors.CannotCreate as error:
        print(error.message, bool(error.hint), int(error.exit_code))
""",
        )

        assert shown.splitlines() == [
            f"cannot write {folder / 'file'}: Permission denied True 73",
            f"cannot make the folder {folder / 'new'}: Permission denied True 73",
        ]
        assert names(folder) == []


def test_a_folder_in_the_place_of_the_file_stays(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()

    with pytest.raises(CannotCreate, match="Is a directory") as caught:
        write_atomically(tmp_path / "file", b"x")

    assert caught.value.exit_code is ExitCode.CANNOT_CREATE
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["open", "fchmod", "fsync", "replace"])
def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Ctrl-C at any moment: a KeyboardInterrupt may come between any two steps."""
    real = getattr(os, call)

    def press_ctrl_c(*arguments: object, **named: object) -> None:
        real(*arguments, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, call, press_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", b"x")

    monkeypatch.undo()
    assert names(tmp_path) == (["file"] if call == "replace" else [])


def test_a_new_folder_is_private_and_an_old_one_is_left(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "old").mkdir(mode=0o755)
    make_folder(tmp_path / "old")

    assert (tmp_path / "a" / "b").stat().st_mode & 0o7777 == 0o700
    assert (tmp_path / "old").stat().st_mode & 0o7777 == 0o755 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CannotCreate, match="cannot make the folder"):
            make_folder(path)


def test_a_whole_file_is_read_with_its_facts(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    path.chmod(0o640)
    (tmp_path / "link").symlink_to(path)

    content, facts = read_regular(tmp_path / "link", limit=5)

    assert content == b"12345"
    assert facts.st_mode & 0o7777 == 0o640


def test_what_is_too_large_a_folder_or_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"123456")
    os.mkfifo(tmp_path / "pipe")
    before = len(list(Path("/dev/fd").iterdir()))

    for path, number in (("file", errno.EFBIG), ("pipe", errno.EINVAL), (".", errno.EISDIR), ("none", errno.ENOENT)):
        with pytest.raises(OSError, match=r".") as caught:
            read_regular(tmp_path / path, limit=5)
        assert caught.value.errno == number

    assert len(list(Path("/dev/fd").iterdir())) == before
