"""Where everything that happens reaches the supervisor, and the clock that it lives by.

The queue is a SimpleQueue: its put is reentrant, so a signal handler may call it (queue.Queue's may deadlock there).
"""

from __future__ import annotations

import contextlib
import queue
import random
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ioconnect.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ioconnect.agent.tunnel.events import RetryRequested, SessionEvent


@dataclass(frozen=True, slots=True)
class Stop:
    """Leave with `code`: cleanly the first time, at once the second."""

    code: ExitCode = ExitCode.OK


@dataclass(frozen=True, slots=True)
class Reload:
    """Read the configuration again."""


@dataclass(frozen=True, slots=True)
class Reconnect:
    """A person wants it tried now; which tunnels is in the request file, all if there is none."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the session `generation` of a tunnel says; an older generation's word does not count."""

    tunnel: str
    generation: int
    event: SessionEvent


Letter: TypeAlias = "Stop | Reload | Reconnect | Report | RetryRequested"  # RetryRequested: for every tunnel

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


class Inbox(Protocol):
    """One reader, the supervisor; any thread and any signal handler may put."""

    def put(self, letter: Letter) -> None:
        """Put a letter; returns at once."""

    def get(self, deadline: float | None) -> Letter | None:
        """Wait for a letter; None when the deadline (of the Clock) has come, without one for ever."""


class Clock(Protocol):
    """Time and chance."""

    def now(self) -> float:
        """Return monotonic seconds."""

    def wall(self) -> float:
        """Return seconds since the epoch, for display only."""

    def roll(self) -> float:
        """Return a random number in [0, 1)."""


class SystemClock:
    """The real one."""

    def now(self) -> float:
        """Return time.monotonic()."""
        return time.monotonic()

    def wall(self) -> float:
        """Return time.time()."""
        return time.time()

    def roll(self) -> float:
        """Return random.random()."""
        return random.random()  # noqa: S311  spreads retries, guards nothing


class SignalInbox:
    """The real one: signals arrive only while it waits.

    While `receiving_signals` (the whole life of the agent) they are blocked outside `get`. So every thread that the
    agent starts inherits the block and the kernel always picks the main one, and no handler runs amid other code.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Letter] = queue.SimpleQueue()

    def put(self, letter: Letter) -> None:
        """Put a letter."""
        self._queue.put(letter)

    def get(self, deadline: float | None) -> Letter | None:
        """Wait for a letter; only in the main thread."""
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        try:
            with contextlib.suppress(queue.Empty):
                return self._queue.get(timeout=timeout)
            return None
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    @contextlib.contextmanager
    def receiving_signals(self) -> Iterator[None]:
        """Turn TERM and INT into Stop, HUP into Reload, USR1 into Reconnect; only in the main thread.

        Afterwards they are ignored: the process is on its way out, and a second TERM must not change its code.
        """
        letters: dict[int, Letter] = {
            signal.SIGTERM: Stop(ExitCode.OK),
            signal.SIGINT: Stop(ExitCode.INTERRUPTED),
            signal.SIGHUP: Reload(),
            signal.SIGUSR1: Reconnect(),
        }
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        for number in SIGNALS:
            signal.signal(number, lambda got, _frame: self.put(letters[got]))
        try:
            yield
        finally:
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
