"""Reads regular files with a size limit; writes files atomically, so that no reader and no crash sees half of one.

All that root may run uses these functions for files: how a path is followed is in `entries`. What root writes in
another account's folder belongs to that account afterwards, and what it replaces keeps its owner. In a folder where
others may only add files (sticky, as /tmp) nothing is given away. Each function raises Untrusted for a path that
another account may lead elsewhere, besides what it says.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ioconnect.custody.descriptors import open_regular
from ioconnect.custody.entries import Entry, Untrusted, entry
from ioconnect.errors import CannotCreate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


Stamp: TypeAlias = "tuple[int, ...] | None"  # None: there is no such file, or it cannot be examined
Stamps: TypeAlias = dict[Path, Stamp]

ROOT_ALONE: frozenset[int] = frozenset()  # as `trusted` of `read_regular`
_MODES = 0o777  # never set-user-ID, set-group-ID or sticky


def make_folder(path: Path, *, mode: int = 0o700, owner: tuple[int, int] | None = None) -> None:
    """Make the folder and its parents; a new one has this mode and owner (uid, gid). Raises CannotCreate."""
    try:
        _make_folder(path, mode, owner)
    except (OSError, Untrusted) as error:
        raise CannotCreate(
            f"cannot make the folder {path}: {error.strerror}",
            hint=hint_of(error, "Make it yourself, or set IOCONNECT_HOME to a folder you may write in."),
        ) from error


def read_regular(path: Path, *, limit: int, trusted: frozenset[int] | None = None) -> tuple[bytes, os.stat_result]:
    """Return the content of a file of at most `limit` bytes, and its fstat(2) result.

    Root reads only what nobody but root and the `trusted` accounts (uids) can change; None: whatever others can
    change. Never blocks on a named pipe. Raises OSError: also for a folder (EISDIR), another file that is not regular
    (EINVAL), and a larger file (EFBIG); Untrusted.
    """
    descriptor, facts = open_regular(path, trusted=trusted)
    try:
        return read_opened(descriptor, path, limit=limit), facts
    finally:
        os.close(descriptor)


def read_opened(descriptor: int, path: Path, *, limit: int) -> bytes:
    """Return the content of an open file of at most `limit` bytes; `path` is for the error. Raises OSError: EFBIG."""
    with open(descriptor, "rb", closefd=False) as file:  # by descriptor: a path could be replaced meanwhile
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {limit} bytes", str(path))
    return content


def hint_to_read(error: OSError, *, too_large: str) -> str:
    """Return what to do about an error of `read_regular`; `too_large` is that about a file over the limit."""
    if error.errno == errno.EFBIG:
        return too_large
    if error.errno in (errno.EISDIR, errno.EINVAL):
        return "Put a regular file in its place, or name another one."
    return "Check the file's owner and permissions."


def hint_of(error: OSError | Untrusted, otherwise: str) -> str:
    """Return what to do about an error of these functions: an Untrusted path says it itself."""
    return error.hint if isinstance(error, Untrusted) else otherwise


def stamp(path: Path) -> Stamp:
    """Return numbers that differ once the file is written, replaced, or given another owner or mode."""
    try:
        facts = path.stat()
    except (OSError, ValueError):
        return None
    return facts.st_dev, facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size


def write_atomically(
    path: Path, data: bytes, *, mode: int = 0o600, durable: bool = True, keeps_owner: bool = True
) -> None:
    """Replace the file by rename(2), with `mode` from its first byte on; a failure leaves the old content.

    `durable` calls fsync(2), also for the folder; without it a power cut may lose the file. Without `keeps_owner`
    what root writes is root's, also in another account's folder. Raises CannotCreate.
    """
    owner = _owner if keeps_owner else None
    with _temporary_file(path, data, mode, durable=durable, owner=owner) as (found, temporary):
        os.replace(temporary, found.name, src_dir_fd=found.folder, dst_dir_fd=found.folder)


def preserved_mode(path: Path) -> int:
    """Return the mode for replacing a file without secrets: 0600, plus its present group and world read bits.

    A service with an account of its own reads root's configuration and pins.
    """
    try:
        return 0o600 | path.stat().st_mode & 0o044
    except OSError:
        return 0o600


def write_new(path: Path, data: bytes, *, mode: int = 0o600, keeps_owner: bool = True) -> bool:
    """Create the file as `write_atomically` does; return False, without changing it, if it exists."""
    made = True
    owner = _owner_of_new if keeps_owner else None
    with _temporary_file(path, data, mode, durable=True, owner=owner) as (found, temporary):
        try:  # unlike rename(2), link(2) never replaces
            os.link(temporary, found.name, src_dir_fd=found.folder, dst_dir_fd=found.folder)
        except FileExistsError:
            made = False
    return made


def rename(path: Path, name: str) -> None:
    """Give the file another name in its folder, in the place of what has it. Raises OSError."""
    with entry(path, follow=False) as found:
        os.replace(found.name, found.beside(name), src_dir_fd=found.folder, dst_dir_fd=found.folder)


def remove(path: Path) -> None:
    """Remove the file, if there is one. Raises OSError."""
    with contextlib.suppress(FileNotFoundError), entry(path, follow=False) as found:
        os.unlink(found.name, dir_fd=found.folder)


def remove_folder(path: Path) -> None:
    """Remove the empty folder. Raises OSError."""
    with entry(path, follow=False) as found:
        os.rmdir(found.name, dir_fd=found.folder)


def _make_folder(path: Path, mode: int, owner: tuple[int, int] | None) -> None:
    try:
        with entry(path, follow=True) as found:
            try:
                os.mkdir(found.name, mode, dir_fd=found.folder)
            except FileExistsError:
                if not path.is_dir():
                    raise
            else:
                _give_new_folder(found, owner)
    except FileNotFoundError:
        if path.parent.is_dir():  # a link that leads nowhere
            raise
        _make_folder(path.parent, 0o777, None)
        _make_folder(path, mode, owner)


def _give_new_folder(found: Entry, owner: tuple[int, int] | None) -> None:
    """Give a folder that root has just made to `owner`, or to the account that has its path in custody."""
    if found.folder is None:
        return
    if found.above is not None:
        owner = found.folder_owner()
    if owner is None:
        return
    descriptor = os.open(found.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=found.folder)
    try:
        is_empty = not os.listdir(descriptor)  # noqa: PTH208  by descriptor
        if is_empty and os.fstat(descriptor).st_uid == 0:  # not another one in its place
            os.chown(descriptor, *owner)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _temporary_file(
    path: Path, data: bytes, mode: int, *, durable: bool, owner: Callable[[Entry], tuple[int, int] | None] | None
) -> Iterator[tuple[Entry, str]]:
    """Yield the entry, and the name of a complete temporary file in its folder, which is removed afterwards.

    Root's belongs to whom `owner` says from before it has content. OSError becomes CannotCreate.
    """
    with _os_errors_as_cannot_create(path), entry(path, follow=False) as found:
        temporary = found.beside(f".{path.name}.{os.urandom(8).hex()}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with open(os.open(temporary, flags, 0o600, dir_fd=found.folder), "wb") as file:  # noqa: PTH123  a descriptor
                if owner is not None and found.folder is not None:
                    _give(file.fileno(), owner(found))
                os.fchmod(file.fileno(), mode & _MODES)
                file.write(data)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            yield found, temporary
            if durable:
                _fsync_folder(found)
        finally:  # also after Ctrl-C; nothing is left to remove after a rename
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=found.folder)


@contextlib.contextmanager
def _os_errors_as_cannot_create(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, Untrusted) as error:
        raise CannotCreate(
            f"cannot write {path}: {error.strerror}",
            hint=hint_of(error, "Check the folder's permissions and the free space on its disk."),
        ) from error


def _owner(found: Entry) -> tuple[int, int] | None:
    """Return uid and gid of the file that root replaces, if its folder's owner or root gave it to that account."""
    existing, owner = found.facts(), _owner_of_new(found)
    if existing is None or found.may_add is not None:
        return owner
    if owner is None or existing.st_uid in (owner[0], 0):
        return existing.st_uid, existing.st_gid
    return owner


def _owner_of_new(found: Entry) -> tuple[int, int] | None:
    """Return uid and gid of the folder if others may replace what is in it; None if not: the file is root's."""
    return None if found.above is None else found.folder_owner()


def _give(descriptor: int, owner: tuple[int, int] | None) -> None:
    made = os.fstat(descriptor)
    if owner is not None and owner != (made.st_uid, made.st_gid):
        os.fchown(descriptor, *owner)


def _fsync_folder(found: Entry) -> None:
    """Call fsync(2) on the folder; a file system that does not support it is ignored."""
    with contextlib.suppress(OSError):
        descriptor = os.open(found.beside("."), os.O_RDONLY | os.O_CLOEXEC, dir_fd=found.folder)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
