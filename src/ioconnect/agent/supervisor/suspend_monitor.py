"""Did the machine sleep? Told as soon as it wakes, without looking every now and then where the kernel can tell.

While a machine sleeps, CLOCK_MONOTONIC (by which every wait of the agent lives) stands still, and the clocks that
count the sleep run ahead of it. Linux says so when it wakes: a timer on the wall clock with TFD_TIMER_CANCEL_ON_SET
(timerfd_create(2)) becomes readable at every jump of that clock. It also does when a virtual machine was paused and
its clock is set right afterwards, which no other clock shows.
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

SHORTEST = 1.0  # seconds of sleep that matter: less costs no connection, and a clock that is set makes small jumps

_CANCEL_ON_SET = 3  # TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, linux/timerfd.h
# Seconds since the epoch: the year 2242, or as late as a 32-bit time_t goes.
_NEVER = 2**33 if struct.calcsize("l") > 4 else 2**31 - 1  # noqa: PLR2004  bytes of a long


def sleep_clocks() -> tuple[Clock, ...]:
    """Return this system's clocks: first one that stands still while the machine sleeps, then those that go on."""
    if sys.platform == "darwin":  # there CLOCK_MONOTONIC goes on, see clock_gettime(3)
        numbers = (time.CLOCK_UPTIME_RAW, time.CLOCK_MONOTONIC, time.CLOCK_REALTIME)
    else:
        going_on = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        numbers = (time.CLOCK_MONOTONIC, going_on, time.CLOCK_REALTIME)
    return tuple(lambda number=number: time.clock_gettime(number) for number in numbers)


class SleepMeter:
    """How long the machine has slept since the last look; one thread."""

    def __init__(self, clocks: Sequence[Clock]) -> None:
        """Take the clocks as `sleep_clocks` returns them."""
        self._standing, *self._going_on = clocks
        self._ahead = self._look()

    def slept(self) -> float:
        """Return the seconds that a clock which goes on has jumped ahead; 0 if that is too little to matter."""
        before, self._ahead = self._ahead, self._look()
        longest = max(now - then for now, then in zip(self._ahead, before, strict=True))
        return longest if longest >= SHORTEST else 0.0

    def _look(self) -> list[float]:
        now = self._standing()
        return [clock() - now for clock in self._going_on]


def open_wake_bell() -> int | None:
    """Return a descriptor that becomes readable when the machine wakes up; None if this system has none.

    It also rings when somebody sets the clock: ask a SleepMeter. The caller closes it.
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
    bell: int = libc.timerfd_create(time.CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC)
    if bell < 0:
        return None
    never = (ctypes.c_long * 4)(0, 0, _NEVER, 0)  # struct itimerspec: no interval, then once
    if libc.timerfd_settime(bell, _CANCEL_ON_SET, never, None) != 0:
        os.close(bell)
        return None
    return bell


def has_rung(bell: int) -> bool:
    """Take the bell's news off it; False if there was none."""
    try:
        os.read(bell, 8)
    except OSError as error:
        return error.errno == errno.ECANCELED
    return True
