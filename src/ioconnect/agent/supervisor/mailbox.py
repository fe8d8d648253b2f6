"""The supervisor's mailbox, through which other threads and signal handlers reach it, and its clock.

The queue is a SimpleQueue: its put is reentrant, so a signal handler may call it (queue.Queue's could deadlock).
"""

from __future__ import annotations

import contextlib
import queue
import random
import signal
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ioconnect.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ioconnect.agent.network.routes import NetworkChanged
    from ioconnect.agent.supervisor.config_reader import ReadConfig
    from ioconnect.agent.tunnel.events import RetryRequested, SessionEvent


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop all tunnels and exit with `code`: cleanly the first time, at once the second."""

    code: ExitCode = ExitCode.OK


@dataclass(frozen=True, slots=True)
class Reload:
    """Reload the configuration."""


@dataclass(frozen=True, slots=True)
class GetSnapshot:
    """Return the status of all tunnels, as it is now."""


@dataclass(frozen=True, slots=True)
class Reconnect:
    """End the waits of these tunnels (none named: of all) and try now."""

    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StartTunnels:
    """Start these tunnels (none named: all but those stopped by name) unless they run; reads the configuration."""

    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StopTunnels:
    """Stop these tunnels cleanly and go on without them; only a StartTunnels that names them starts them again."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GetRunning:
    """Return what runs, for a comparison with the files."""


Command: TypeAlias = "Stop | Reload | GetSnapshot | GetRunning | Reconnect | StartTunnels | StopTunnels"


@dataclass(frozen=True, slots=True)
class Request:
    """A command that is answered: `reply` is called once, with the result or a Fault, on the supervisor's thread.

    It must return at once, like the `put` of a SimpleQueue. GetSnapshot is answered with a Snapshot, GetRunning
    with a Running, Reload and StartTunnels with Changes, the others with the names of the tunnels. Nobody answers
    once the agent has ended.
    """

    command: Command
    reply: Callable[[object], None]


@dataclass(frozen=True, slots=True)
class Report:
    """An event of a tunnel's session; it is ignored unless `generation` is that of the current session."""

    tunnel: str
    generation: int
    event: SessionEvent


@dataclass(frozen=True, slots=True)
class FilesChanged:
    """Files of these held tunnels changed: their identity or pins."""

    tunnels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ConfigWasRead:
    """The configuration was read, as the supervisor asked; `then` goes on with it, on the supervisor's thread."""

    read: ReadConfig
    then: Callable[[ReadConfig], None]


Message: TypeAlias = (
    "ConfigWasRead | FilesChanged | NetworkChanged | Stop | Reload | Request | Report "
    "| RetryRequested"  # the last: for every tunnel
)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


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
    """A mailbox that also receives signals, on a thread of its own.

    Within `receiving_signals` (the whole life of the agent) they are blocked in the main thread and in all threads
    that are started there, so the kernel hands them to sigwait(3) only: a supervisor that hangs delays none, and no
    handler interrupts other code. `on_stop` is called with the exit code of every Stop, on the thread that puts it.
    """

    def __init__(self, on_stop: Callable[[ExitCode], None] = lambda _code: None) -> None:
        self._queue: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._on_stop = on_stop

    def put(self, message: Message) -> None:
        """Queue a message. Any thread."""
        self._queue.put(message)
        command = message.command if isinstance(message, Request) else message
        if isinstance(command, Stop):
            self._on_stop(command.code)

    def get(self, deadline: float | None) -> Message | None:
        """Wait for a message; return None at the deadline. Main thread only."""
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        with contextlib.suppress(queue.Empty):
            return self._queue.get(timeout=timeout)
        return None

    @contextlib.contextmanager
    def receiving_signals(self) -> Iterator[None]:
        """Turn SIGTERM and SIGINT into Stop, SIGHUP into Reload. Main thread only.

        No other thread may run yet. Afterwards they stay blocked: the process exits, and a second SIGTERM must not
        change its exit code.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        threading.Thread(target=self._receive_signals, name="signals", daemon=True).start()
        yield

    def _receive_signals(self) -> None:
        messages: dict[int, Message] = {
            signal.SIGTERM: Stop(ExitCode.OK),
            signal.SIGINT: Stop(ExitCode.INTERRUPTED),
            signal.SIGHUP: Reload(),
        }
        while True:
            self.put(messages[signal.sigwait(SIGNALS)])
