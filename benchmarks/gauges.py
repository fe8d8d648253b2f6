"""What a process has used so far, read from the kernel without disturbing it (Linux)."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_CPUCLOCK_SCHED = 2


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of these processes, of all their threads, also those that ended, in seconds.

    The same sum as utime+stime in /proc/PID/stat, in nanoseconds instead of ticks of 10 ms: the CPU-time clock of
    the process, whose id clock_getcpuclockid(3) composes like this.
    """
    return sum(time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED) for pid in pids)


def resident_bytes(pids: Iterable[int]) -> int:
    """The sum of the resident sets (VmRSS)."""
    return sum(_field(Path(f"/proc/{pid}/status"), "VmRSS") for pid in pids) * 1024


def wake_ups(pids: Iterable[int]) -> int:
    """How often the threads of these processes went to sleep by themselves (voluntary context switches).

    A thread that has ended counts no more.
    """
    turns = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                turns += _field(thread / "status", "voluntary_ctxt_switches")
    return turns


def _field(status: Path, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", status.read_text(encoding="ascii", errors="replace"), re.MULTILINE)
    return int(found[1]) if found else 0
