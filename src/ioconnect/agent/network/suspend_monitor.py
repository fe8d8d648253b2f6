"""Detects that the machine was suspended, as soon as it resumes; without polling where the kernel reports it.

While the machine is suspended CLOCK_MONOTONIC, which every timeout of the agent uses, stands still, and the clocks
that count suspended time run ahead of it. On Linux a timer with TFD_TIMER_CANCEL_ON_SET (timerfd_create(2)) becomes
readable at every discontinuous change of CLOCK_REALTIME, so also on resume. That covers a virtual machine that was
paused as well, once its clock is set; none of its other clocks shows the pause.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Clock = Callable[[], float]

MIN_SUSPEND = 1.0  # seconds; less breaks no connection, and small steps of CLOCK_REALTIME are time synchronisation

_CANCEL_ON_SET = 3  # TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, linux/timerfd.h
# Seconds since the epoch: the year 2242, or the largest 32-bit time_t.
_NEVER = 2**33 if struct.calcsize("l") > 4 else 2**31 - 1  # noqa: PLR2004  bytes of a long


def suspend_clocks() -> tuple[Clock, ...]:
    """Return the system's clocks: first one that stops while the machine is suspended, then those that do not."""
    if sys.platform == "darwin":  # CLOCK_MONOTONIC does not stop there, see clock_gettime(3)
        numbers = (time.CLOCK_UPTIME_RAW, time.CLOCK_MONOTONIC, time.CLOCK_REALTIME)
    else:
        boottime = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        numbers = (time.CLOCK_MONOTONIC, boottime, time.CLOCK_REALTIME)
    return tuple(lambda number=number: time.clock_gettime(number) for number in numbers)


class SuspendDetector:
    """Compares clocks to find out how long the machine was suspended; one thread."""

    def __init__(self, clocks: Sequence[Clock]) -> None:
        """Take the clocks in the order of `suspend_clocks`."""
        self._stopping, *self._running = clocks
        self._offsets = self._read_offsets()

    def suspended_for(self) -> float:
        """Return the seconds that the machine was suspended since the last call; 0 if below MIN_SUSPEND."""
        before, self._offsets = self._offsets, self._read_offsets()
        longest = max(now - then for now, then in zip(self._offsets, before, strict=True))
        return longest if longest >= MIN_SUSPEND else 0.0

    def _read_offsets(self) -> list[float]:
        now = self._stopping()
        return [clock() - now for clock in self._running]


def open_resume_timer() -> int | None:
    """Return a descriptor that becomes readable when the machine resumes; None where there is none.

    It also becomes readable when the clock is set: ask a SuspendDetector. The caller closes it.
    """
    if sys.platform != "linux":
        return None
    try:
        import ctypes  # noqa: PLC0415  a hardened system may forbid what its import does

        libc = ctypes.CDLL(None, use_errno=True)  # os.timerfd_create came with Python 3.13
    except (ImportError, MemoryError, OSError):
        return None
    if not hasattr(libc, "timerfd_create"):
        return None
    timer: int = libc.timerfd_create(time.CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC)
    if timer < 0:
        return None
    never = (ctypes.c_long * 4)(0, 0, _NEVER, 0)  # struct itimerspec: no interval, then once
    if libc.timerfd_settime(timer, _CANCEL_ON_SET, never, None) != 0:
        os.close(timer)
        return None
    return timer


def read_resume_timer(timer: int) -> bool:
    """Read the descriptor, so that it is not readable any more; return False if it was not."""
    try:
        os.read(timer, 8)
    except OSError as error:
        return error.errno == errno.ECANCELED
    return True
