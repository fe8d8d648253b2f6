"""The lock under which a file is read, changed and replaced: two programs that change it lose nothing of each other.

It is flock(2) on a file beside it that only its maker may open, and not on the folder: whoever may list a folder may
lock it, and so keep root from changing the configuration. The lock's file is removed by its holder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
from typing import TYPE_CHECKING

from ioconnect.custody.descriptors import open_to_lock
from ioconnect.custody.entries import Untrusted
from ioconnect.custody.files import hint_of, make_folder, remove
from ioconnect.custody.flock import attempts, try_lock
from ioconnect.errors import CannotCreate, SystemRefused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = ".lock"
TIMEOUT = 10.0  # seconds; who holds it writes a file or two


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of the file's folder, which is made if it is missing.

    Not reentrant. Raises CannotCreate, SystemRefused after `TIMEOUT`.
    """
    make_folder(path.parent)
    file = path.with_name(NAME)
    descriptor = _acquired(file, path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, Untrusted):  # the folder is gone
            remove(file)
        os.close(descriptor)  # after that: nobody else locks a file that is about to be removed


def _acquired(file: Path, path: Path) -> int:
    for _ in attempts(TIMEOUT):
        try:
            descriptor = _attempted(file)
        except (OSError, Untrusted) as error:
            refused = path if isinstance(error, PermissionError) else file
            raise CannotCreate(
                f"cannot write {refused}: {error.strerror}",
                hint=hint_of(error, "Check the owner and permissions of its folder."),
            ) from error
        if descriptor is not None:
            return descriptor
    raise SystemRefused(
        f"another program has held the lock of {file.parent} for {TIMEOUT:g} s",
        hint=f"See which: fuser -v {shlex.quote(str(file))}. If none does, remove that file; then try again.",
    )


def _attempted(file: Path) -> int | None:
    """Return the descriptor of the locked file, None if another program holds it. Raises OSError, Untrusted."""
    try:
        descriptor = open_to_lock(file)
    except PermissionError:
        if os.access(file.parent, os.W_OK | os.X_OK):  # it is another account's, which holds it
            return None
        raise
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, descriptor)
        with contextlib.suppress(FileNotFoundError):  # its holder removed it before it was locked here
            if _is_locked(descriptor) and os.path.samestat(os.fstat(descriptor), file.stat(follow_symlinks=False)):
                undo.pop_all()
                return descriptor
    return None


def _is_locked(descriptor: int) -> bool:
    try:
        return try_lock(descriptor)
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):  # a file system without locks
            return True
        raise
