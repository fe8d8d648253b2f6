"""Opens files and folders by the descriptor of their folder, and judges what was opened; paths are as in `entries`.

Each function raises Untrusted for a path that another account may lead elsewhere, besides what it says.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.custody.entries import Entry, Untrusted, entry

if TYPE_CHECKING:
    from collections.abc import Iterator

# Opening a FIFO would block; a link at the end was resolved before, if it may be followed.
_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_DESCRIPTORS = Path("/proc/self/fd")
_ATTEMPTS = 20  # to open an entry that somebody replaces meanwhile


def open_regular(
    path: Path, *, follow: bool = True, trusted: frozenset[int] | None = None
) -> tuple[int, os.stat_result]:
    """Return a descriptor for reading a regular file, and its fstat(2) result.

    Without `follow` a link at the end of the path is refused for every user. Raises as `read_regular`.
    """
    with entry(path, follow=follow, trusted=trusted) as found:
        descriptor, facts, opened = _opened(found, os.O_RDONLY | (0 if follow else os.O_NOFOLLOW))
        with _closing_on_error(descriptor):
            if trusted is not None:
                opened.check_writers(trusted, (descriptor, facts))
        return descriptor, facts


def names_in(folder: Path, *, trusted: frozenset[int] | None = None) -> list[str]:
    """Return the names in a folder; `trusted` is as for `read_regular`. Raises OSError, Untrusted."""
    with entry(folder, follow=True, trusted=trusted) as found:
        descriptor, facts, opened = _opened(found, os.O_RDONLY | os.O_DIRECTORY, types=(stat.S_IFDIR,))
        try:
            if trusted is not None:
                opened.check_writers(trusted, (descriptor, facts))
            return os.listdir(descriptor)  # noqa: PTH208  by descriptor
        finally:
            os.close(descriptor)


def open_to_write(path: Path, flags: int) -> int:
    """Return a descriptor for writing; with O_CREAT a new file has the mode 0600, O_NOFOLLOW refuses a link.

    Root opens nothing that another account may replace. Raises OSError, Untrusted.
    """
    with entry(path, follow=not flags & os.O_NOFOLLOW) as found:
        _check_roots_alone(found)
        return _opened_to_write(found, flags)


def open_log(path: Path, flags: int, *, types: tuple[int, ...] = (stat.S_IFREG,)) -> int:
    """Return a descriptor for writing a log, as `open_to_write`; `types` are those of S_IFMT that it may have.

    Root opens one also where only accounts of services may replace its folder, which is root's (`is_below_services`).
    """
    with entry(path, follow=True) as found:
        if not found.is_below_services():
            _check_roots_alone(found)
            return _opened_to_write(found, flags, types=types)
        descriptor, facts, opened = _opened(found, flags)
        with _closing_on_error(descriptor):
            if facts.st_uid != 0:
                _check_roots_alone(opened)
        return descriptor


def _opened_to_write(found: Entry, flags: int, *, types: tuple[int, ...] = (stat.S_IFREG,)) -> int:
    descriptor, _, opened = _opened(found, flags, types=types)
    with _closing_on_error(descriptor):
        _check_roots_alone(opened)
    return descriptor


def _check_roots_alone(found: Entry) -> None:
    custody = found.custody
    if custody is not None:
        raise Untrusted(f"{custody.description}, and root keeps no file open there", found.path, custody)


def open_to_lock(path: Path) -> int:
    """Return a descriptor of a file for flock(2), made with the mode 0600 if there is none. Raises OSError."""
    with entry(path, follow=False) as found:
        return _opened(found, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)[0]


def open_to_change(path: Path) -> int:
    """Return a descriptor of a file or folder of which root may change mode and owner.

    Not one of root's that lies in another account's folder: that account may have moved it there. Raises OSError.
    """
    with entry(path, follow=True) as found:
        descriptor, facts, opened = _opened(found, os.O_RDONLY, types=(stat.S_IFREG, stat.S_IFDIR))
        with _closing_on_error(descriptor):
            opened.opened(facts, own=True)
    return descriptor


def _opened(
    found: Entry, flags: int, *, types: tuple[int, ...] = (stat.S_IFREG,)
) -> tuple[int, os.stat_result, Entry]:
    """Return a descriptor of a file of one of these types, its fstat(2) result, and the entry as it was opened."""
    if found.folder is None:
        descriptor = os.open(found.name, flags | _FLAGS, 0o600)
    else:
        descriptor = _open_judged(found, flags | _FLAGS, types)
    with _closing_on_error(descriptor):
        facts = os.fstat(descriptor)
        _check_type(facts, found.path, types)
        return descriptor, facts, found.opened(facts)


def _open_judged(found: Entry, flags: int, types: tuple[int, ...]) -> int:
    """Return a descriptor, for root, of a file that has one of these types before it is opened. Raises OSError.

    open(2) alone makes some devices act: /dev/watchdog restarts the machine. So the inode is opened that was looked
    at (O_PATH, and its link in /proc). Without these an entry that is replaced between the two is opened and closed.
    """
    for _ in range(_ATTEMPTS):
        try:
            with _looked_at(found) as (name, folder, facts):
                if stat.S_ISLNK(facts.st_mode):
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(found.path))
                _check_type(facts, found.path, types)
                follow = os.O_NOFOLLOW if folder is not None else 0
                descriptor = os.open(name, flags & ~(os.O_CREAT | os.O_NOFOLLOW) | follow, dir_fd=folder)
            if os.path.samestat(os.fstat(descriptor), facts):
                return descriptor
            os.close(descriptor)
        except FileNotFoundError:  # noqa: PERF203  each attempt begins anew
            if not flags & os.O_CREAT:
                raise
            with contextlib.suppress(FileExistsError):  # else it was made meanwhile: it is looked at first
                return os.open(found.name, flags | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=found.folder)
    raise OSError(errno.EAGAIN, "it is replaced again and again", str(found.path))


@contextlib.contextmanager
def _looked_at(found: Entry) -> Iterator[tuple[str, int | None, os.stat_result]]:
    """Yield what opens the entry's inode, a name and its folder's descriptor, and what lstat(2) says of it."""
    if not _DESCRIPTORS.is_dir() or not hasattr(os, "O_PATH"):  # macOS, a chroot
        yield found.name, found.folder, os.stat(found.name, dir_fd=found.folder, follow_symlinks=False)
        return
    seen = os.open(found.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=found.folder)
    try:
        yield f"{_DESCRIPTORS}/{seen}", None, os.fstat(seen)
    finally:
        os.close(seen)


@contextlib.contextmanager
def _closing_on_error(descriptor: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        os.close(descriptor)
        raise


def _check_type(facts: os.stat_result, path: Path, types: tuple[int, ...]) -> None:
    if stat.S_IFMT(facts.st_mode) not in types:
        if stat.S_ISDIR(facts.st_mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
