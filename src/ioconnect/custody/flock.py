"""flock(2) for a limited time: the kernel releases such a lock when its holder ends, however it ends."""

from __future__ import annotations

import fcntl
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

INTERVAL = 0.02  # seconds; flock(2) has no timeout


def attempts(seconds: float) -> Iterator[None]:
    """Yield for each attempt to take a lock: at once, then at every `INTERVAL` until `seconds` have passed."""
    end = time.monotonic() + seconds
    yield
    while time.monotonic() < end:
        time.sleep(INTERVAL)
        yield


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Take the lock of an open file; return False if another one holds it. Raises OSError."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
