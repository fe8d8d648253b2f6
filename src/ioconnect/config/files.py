"""Reads regular files with a size limit; writes files atomically, so that no reader and no crash sees half of one."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ioconnect.errors import CannotCreate

if TYPE_CHECKING:
    from collections.abc import Iterator


Stamp: TypeAlias = "tuple[int, ...] | None"  # None: there is no such file, or it cannot be examined
Stamps: TypeAlias = dict[Path, Stamp]


def make_folder(path: Path, *, mode: int = 0o700) -> None:
    """Make the folder and its parents; `mode` is that of a new folder. Raises CannotCreate."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=mode, exist_ok=True)
    except OSError as error:
        raise CannotCreate(
            f"cannot make the folder {path}: {error.strerror}",
            hint="Make it yourself, or set IOCONNECT_HOME to a folder you may write in.",
        ) from error


def read_regular(path: Path, *, limit: int) -> tuple[bytes, os.stat_result]:
    """Return the content of a file of at most `limit` bytes, and its fstat(2) result.

    Never blocks on a named pipe. Raises OSError: also for a folder (EISDIR), another file that is not regular
    (EINVAL), and a larger file (EFBIG).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        facts = os.fstat(descriptor)
        if stat.S_ISDIR(facts.st_mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        with open(descriptor, "rb", closefd=False) as file:  # by descriptor: a path could be replaced meanwhile
            content = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {limit} bytes", str(path))
    return content, facts


def hint_to_read(error: OSError, *, too_large: str) -> str:
    """Return what to do about an error of `read_regular`; `too_large` is that about a file over the limit."""
    if error.errno == errno.EFBIG:
        return too_large
    if error.errno in (errno.EISDIR, errno.EINVAL):
        return "Put a regular file in its place, or name another one."
    return "Check the file's owner and permissions."


def stamp(path: Path) -> Stamp:
    """Return numbers that differ once the file is written, replaced, or given another owner or mode."""
    try:
        facts = path.stat()
    except (OSError, ValueError):
        return None
    return facts.st_dev, facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size


def write_atomically(path: Path, data: bytes, *, mode: int = 0o600, durable: bool = True) -> None:
    """Replace the file by rename(2), with `mode` from its first byte on; a failure leaves the old content.

    `durable` calls fsync(2), also for the folder; without it a power cut may lose the file. Raises CannotCreate.
    """
    with _temporary_file(path, data, mode, durable=durable) as temporary:
        os.replace(temporary, path)  # noqa: PTH105  temporary is a string from mkstemp


def preserved_mode(path: Path) -> int:
    """Return the mode for replacing a file without secrets: 0600, plus its present group and world read bits.

    A service with an account of its own reads root's configuration and pins.
    """
    try:
        return 0o600 | path.stat().st_mode & 0o044
    except OSError:
        return 0o600


def write_new(path: Path, data: bytes, *, mode: int = 0o600) -> bool:
    """Create the file as `write_atomically` does; return False, without changing it, if it exists."""
    made = True
    with _temporary_file(path, data, mode, durable=True) as temporary:
        try:
            os.link(temporary, path)  # unlike rename(2), link(2) never replaces
        except FileExistsError:
            made = False
    return made


@contextlib.contextmanager
def _temporary_file(path: Path, data: bytes, mode: int, *, durable: bool) -> Iterator[str]:
    """Yield the name of a complete temporary file in the same folder, and remove it. OSError becomes CannotCreate."""
    temporary: str | None = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with open(descriptor, "wb") as file:  # noqa: PTH123  mkstemp hands out a descriptor
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            if durable:
                os.fsync(descriptor)
        yield temporary
        if durable:
            _fsync_folder(path.parent)
    except OSError as error:
        raise CannotCreate(
            f"cannot write {path}: {error.strerror}",
            hint="Check the folder's permissions and the free space on its disk.",
        ) from error
    finally:  # also after Ctrl-C; nothing is left to remove after a rename
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108


def _fsync_folder(folder: Path) -> None:
    """Call fsync(2) on the folder; a file system that does not support it is ignored."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
