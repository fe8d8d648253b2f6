"""The supervisor's mailbox, through which other threads and signal handlers reach it, and its clock.

The queue is a SimpleQueue: its put is reentrant, so a signal handler may call it (queue.Queue's could deadlock).
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
    """Stop all tunnels and exit with `code`: cleanly the first time, at once the second."""

    code: ExitCode = ExitCode.OK


@dataclass(frozen=True, slots=True)
class Reload:
    """Reload the configuration."""


@dataclass(frozen=True, slots=True)
class Reconnect:
    """A user requests a reconnect: of the tunnels in the request file, of all if there is none."""


@dataclass(frozen=True, slots=True)
class Report:
    """An event of a tunnel's session; it is ignored unless `generation` is that of the current session."""

    tunnel: str
    generation: int
    event: SessionEvent


Message: TypeAlias = "Stop | Reload | Reconnect | Report | RetryRequested"  # RetryRequested: for every tunnel

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


class Mailbox(Protocol):
    """A queue of messages: read by the supervisor, written by any thread and any signal handler."""

    def put(self, message: Message) -> None:
        """Queue a message; returns at once."""

    def get(self, deadline: float | None) -> Message | None:
        """Wait for a message; return None at the deadline (of the Clock). Without a deadline wait for ever."""


class Clock(Protocol):
    """Time and random numbers."""

    def now(self) -> float:
        """Return monotonic seconds."""

    def wall(self) -> float:
        """Return seconds since the epoch, for display only."""

    def random(self) -> float:
        """Return a random number in [0, 1)."""


class SystemClock:
    """The system's clocks."""

    def now(self) -> float:
        """Return time.monotonic()."""
        return time.monotonic()

    def wall(self) -> float:
        """Return time.time()."""
        return time.time()

    def random(self) -> float:
        """Return random.random()."""
        return random.random()  # noqa: S311  jitter, not cryptography


class SignalMailbox:
    """A mailbox that also receives signals, only while `get` waits.

    Within `receiving_signals` (the whole life of the agent) they are blocked outside `get`. Threads started there
    inherit the mask, so the kernel delivers signals to the main thread only, and no handler interrupts other code.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Message] = queue.SimpleQueue()

    def put(self, message: Message) -> None:
        """Queue a message. Any thread."""
        self._queue.put(message)

    def get(self, deadline: float | None) -> Message | None:
        """Wait for a message; return None at the deadline. Main thread only."""
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
        """Turn SIGTERM and SIGINT into Stop, SIGHUP into Reload, SIGUSR1 into Reconnect. Main thread only.

        Afterwards they are ignored: the process exits, and a second SIGTERM must not change its exit code.
        """
        messages: dict[int, Message] = {
            signal.SIGTERM: Stop(ExitCode.OK),
            signal.SIGINT: Stop(ExitCode.INTERRUPTED),
            signal.SIGHUP: Reload(),
            signal.SIGUSR1: Reconnect(),
        }
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        for number in SIGNALS:
            signal.signal(number, lambda received, _frame: self.put(messages[received]))
        try:
            yield
        finally:
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
