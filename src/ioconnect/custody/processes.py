"""Whose a process is; and signals to one that was looked at before.

Its pid cannot belong to another one meanwhile (pidfd_open(2)).
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def signalling(pid: int) -> Iterator[Callable[[signal.Signals], None]]:
    """Yield what sends a signal to this process, and does nothing once it has ended; raises PermissionError.

    What the process is must be looked at inside the block. Without pidfds (macOS, Linux before 5.3) the pid may be
    another's between the look and the signal.
    """
    handle = _pidfd(pid)
    try:
        yield lambda what: _send(pid, handle, what)
    finally:
        if handle is not None:
            os.close(handle)


def owner(pid: int) -> int | None:
    """Return the effective uid of a process; None if there is none, or no /proc to tell."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}").stat().st_uid
    return None


def _pidfd(pid: int) -> int | None:
    """Return a pidfd; None where there are none, or no such process."""
    if pid > 0 and hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):
            return os.pidfd_open(pid)
    return None


def _send(pid: int, handle: int | None, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        if handle is not None:
            signal.pidfd_send_signal(handle, what)
        else:
            os.kill(pid, what)
