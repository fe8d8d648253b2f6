"""What is fuzzed, and when an input counts as a finding: a crash, a hang or growth."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import threading
import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

CORPUS = Path(__file__).with_name("corpus")  # what was found, a folder for each target
MAX_CPU = 1.0  # seconds for one input; more is a hang, however busy the machine is
MAX_KEPT = 256 << 10  # bytes that several passes over the same inputs may leave behind: caches of re and the like
MAX_PEAK = 48 << 20  # bytes that one input may need, beside a hundred times its length
PASSES = 4


@dataclass(frozen=True, slots=True)
class Target:
    """A parser, or one side of a protocol. `run` returns whether the input was taken rather than refused.

    `run` must let through what is not a documented exception. `seeds` are taken; `words` are what mutations put in.
    """

    name: str
    run: Callable[[bytes], bool]
    seeds: Sequence[bytes]
    words: Sequence[bytes] = field(default=())


class Finding(Exception):
    """An input that must not do what it did; `kind` is crash, hang or growth."""

    def __init__(self, kind: str, data: bytes, why: str) -> None:
        super().__init__(f"{kind}: {why}")
        self.kind = kind
        self.data = data


class _TooSlow(BaseException):
    """Raised in the middle of a target; a BaseException, so that no target takes it for one of its own."""


@contextlib.contextmanager
def limited_cpu(seconds: float = MAX_CPU) -> Iterator[None]:
    """Raise _TooSlow in the main thread after so much CPU time of this process."""

    def expired(_number: int, _frame: object) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGPROF, expired)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def check(target: Target, data: bytes, *, cpu: float = MAX_CPU) -> bool:
    """Run the target once and return whether it took the input. Raises Finding. Main thread only."""
    try:
        with limited_cpu(cpu):
            return target.run(data)
    except _TooSlow:
        raise Finding("hang", data, f"more than {cpu:g} s of CPU for {len(data)} bytes") from None
    except Exception as error:
        raise Finding("crash", data, f"{type(error).__name__}: {str(error)[:300]}") from error


def check_growth(target: Target, inputs: Sequence[bytes]) -> None:
    """Run the inputs several times: nothing may stay, and none may need much. Raises Finding."""
    held = _held()
    tracemalloc.start()
    try:
        after_first = 0
        for turn in range(PASSES):
            for data in inputs:
                tracemalloc.reset_peak()
                before = tracemalloc.get_traced_memory()[0]
                check(target, data, cpu=10 * MAX_CPU)  # tracing costs its share
                peak = tracemalloc.get_traced_memory()[1] - before
                if peak > MAX_PEAK + 100 * len(data):
                    raise Finding("growth", data, f"{peak >> 20} MiB for {len(data)} bytes")
            gc.collect()
            if turn == 0:
                after_first = tracemalloc.get_traced_memory()[0]
        kept = tracemalloc.get_traced_memory()[0] - after_first
    finally:
        tracemalloc.stop()
    if kept > MAX_KEPT:
        raise Finding("growth", inputs[-1], f"{kept >> 10} KiB are left after {PASSES - 1} more passes")
    if _held() > held + 8:  # some, as look-ups of the system may keep one each
        raise Finding("growth", inputs[-1], f"descriptors and threads: {held} before, {_held()} after")


def _held() -> int:
    """Return how many descriptors and threads this process has."""
    folder = "/proc/self/fd" if os.path.exists("/proc/self/fd") else "/dev/fd"  # noqa: PTH110  one call
    return len(os.listdir(folder)) + threading.active_count()  # noqa: PTH208  as above


def corpus(target: Target) -> list[bytes]:
    """Return the inputs that were found once."""
    return [path.read_bytes() for path in sorted((CORPUS / target.name).glob("*"))]
