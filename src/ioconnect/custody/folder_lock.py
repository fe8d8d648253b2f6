"""The lock under which a file is read, changed and replaced: two programs that change it lose nothing of each other.

It is flock(2) on the file's folder: no file is made for it, and the kernel releases it when its holder ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

from ioconnect.custody.entries import Untrusted, entry
from ioconnect.custody.files import make_folder
from ioconnect.errors import CannotCreate, SystemRefused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIMEOUT = 10.0  # seconds; who holds it writes a file or two
INTERVAL = 0.02  # seconds; flock(2) has no timeout


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of the file's folder, which is made if it is missing.

    Not reentrant. Raises CannotCreate, SystemRefused after `TIMEOUT`.
    """
    make_folder(path.parent)
    descriptor = _opened(path.parent)
    try:
        end = time.monotonic() + TIMEOUT
        while not _try_lock(descriptor):
            if time.monotonic() > end:
                raise SystemRefused(
                    f"another program has held the lock of {path.parent} for {TIMEOUT:g} s",
                    hint=f"See which: fuser -v {path.parent}. Then try again.",
                )
            time.sleep(INTERVAL)
        yield
    finally:
        os.close(descriptor)


def _opened(folder: Path) -> int:
    try:
        with entry(folder, follow=True) as found:
            follow = os.O_NOFOLLOW if found.folder is not None else 0
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | follow
            return os.open(found.name, flags, dir_fd=found.folder)
    except (OSError, Untrusted) as error:
        raise CannotCreate(
            f"cannot open the folder {folder}: {error.strerror}", hint="Check its owner and permissions."
        ) from error


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # NFS locks no folder
        return True
    return True
