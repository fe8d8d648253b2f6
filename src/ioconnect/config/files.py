"""Reading files without surprises; writing them so that nothing ever sees half of one: no crash, no second reader."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from typing import TYPE_CHECKING

from ioconnect.errors import CannotCreate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def make_folder(path: Path, *, mode: int = 0o700) -> None:
    """Make the folder and its parents; a new one gets `mode` at once. Raises CannotCreate."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=mode, exist_ok=True)
    except OSError as error:
        raise CannotCreate(
            f"cannot make the folder {path}: {error.strerror}",
            hint="Make it yourself, or set IOCONNECT_HOME to a folder you may write in.",
        ) from error


def read_regular(path: Path, *, limit: int) -> tuple[bytes, os.stat_result]:
    """Read a whole file of at most `limit` bytes, with what fstat says of the very file that was read.

    Never waits, as a named pipe would make it. Raises OSError: also if it is no regular file (EINVAL; a folder
    EISDIR), or larger (EFBIG).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        facts = os.fstat(descriptor)
        if stat.S_ISDIR(facts.st_mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        with open(descriptor, "rb", closefd=False) as file:  # nobody swaps a descriptor's file
            content = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {limit} bytes", str(path))
    return content, facts


def write_replacing(path: Path, data: bytes, *, mode: int = 0o600, durable: bool = True) -> None:
    """Replace the file's content in one step, on disk when this returns; `mode` holds from the first byte.

    The old content stays if anything fails. Not `durable` leaves the disk to the system: for what is written often
    and worth nothing after a power cut. Raises CannotCreate.
    """
    with _written_beside(path, data, mode, durable=durable) as temporary:
        os.replace(temporary, path)  # noqa: PTH105  temporary is a string from mkstemp


def kept_mode(path: Path) -> int:
    """Return the mode for a file without secrets that is to be replaced: 0600, and readable for whom it is now.

    A service that runs under an account of its own reads root's configuration and pins.
    """
    try:
        return 0o600 | path.stat().st_mode & 0o044
    except OSError:
        return 0o600


def write_new(path: Path, data: bytes, *, mode: int = 0o600) -> bool:
    """Do as `write_replacing` does, unless the file is there by then: return False and leave it alone."""
    made = True
    with _written_beside(path, data, mode, durable=True) as temporary:
        try:
            os.link(temporary, path)  # unlike rename(2), link(2) never replaces
        except FileExistsError:
            made = False
    return made


@contextlib.contextmanager
def _written_beside(path: Path, data: bytes, mode: int, *, durable: bool) -> Iterator[str]:
    """Yield the name of a complete file in the same folder, which is gone afterwards; OSError → CannotCreate."""
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
            _sync_folder(path.parent)
    except OSError as error:
        raise CannotCreate(
            f"cannot write {path}: {error.strerror}",
            hint="Check the folder's permissions and the free space on its disk.",
        ) from error
    finally:  # also after Ctrl-C; nothing is left to remove after a rename
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108


def _sync_folder(folder: Path) -> None:
    """Put the new name on disk; the file is whole already, so a file system that cannot is no fault."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
