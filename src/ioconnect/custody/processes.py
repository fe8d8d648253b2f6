"""Whose a process is; and signals to one that was looked at before.

Its pid cannot belong to another one meanwhile (pidfd_open(2)).
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.errors import SystemRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


NO_PIDFDS = (errno.ENOSYS, errno.EPERM)  # Linux before 5.3; a container's filter of system calls (seccomp)


@contextlib.contextmanager
def signalling(pid: int) -> Iterator[Callable[[signal.Signals], None]]:
    """Yield what sends a signal to this process, and does nothing once it has ended; raises PermissionError.

    What the process is must be looked at inside the block. Where the system has no pidfds (macOS, `NO_PIDFDS`) its
    pid may be another's between the look and the signal. Raises SystemRefused if a pidfd cannot be had otherwise.
    """
    try:
        handle = os.pidfd_open(pid) if pid > 0 and hasattr(os, "pidfd_open") else None
    except ProcessLookupError:
        pid, handle = 0, None
    except OSError as error:
        if error.errno not in NO_PIDFDS:
            raise SystemRefused(f"cannot get hold of the process {pid}: {error.strerror}") from error
        handle = None
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


def _send(pid: int, handle: int | None, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        if handle is not None:
            signal.pidfd_send_signal(handle, what)
        elif pid > 0:  # else it had ended before; and kill(2) would take 0 for a whole process group
            os.kill(pid, what)
