"""An agent as others see it: this process holds the lock and answers on the control socket what a test wants."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ioconnect.agent.process.control_requests import Requests
from ioconnect.agent.process.control_server import serving
from ioconnect.agent.supervisor.mailbox import Request
from ioconnect.config.paths import under
from ioconnect.status import snapshots
from ioconnect.status.lock import AgentLock, identity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ioconnect.agent.supervisor.mailbox import Message
    from ioconnect.status.snapshots import Snapshot


class _Requests(Requests):
    """Answers the status as it was published: nothing runs here that files could differ from."""

    def _snapshot_with_drift(self) -> Snapshot:
        return self._snapshot()


class PretendAgent:
    """Its mailbox answers every request with the snapshot that was published last; frozen, it answers nothing."""

    def __init__(self, home: Path) -> None:
        self.paths = under(home)
        self.is_frozen = False
        self._snapshot: Snapshot | None = None
        self._life = contextlib.ExitStack()

    def publish(self, snapshot: Snapshot) -> None:
        """Answer with this from now on, and write it as an agent does."""
        self._snapshot = snapshot
        snapshots.write(self.paths.status, snapshot)

    def start(self, version: str, started_at: str) -> None:
        """Take the lock, and answer."""
        lock = AgentLock.acquire(self.paths.lock, version=version, started_at=started_at)
        self._life.callback(lock.release)
        requests = _Requests(self, self.paths, identity(self.paths.lock))
        self._life.enter_context(serving(self.paths.control, requests))

    def end(self) -> None:
        """Release the lock; the last snapshot stays in its file."""
        self._life.close()

    def put(self, message: Message) -> None:
        """Answer a request, as the supervisor does. Any thread."""
        assert isinstance(message, Request)
        if not self.is_frozen:
            message.reply(self._snapshot)

    def get(self, deadline: float | None) -> Message | None:
        raise AssertionError(f"nobody waits for messages here ({deadline})")


@contextlib.contextmanager
def running(home: Path, *, version: str, started_at: str) -> Iterator[PretendAgent]:
    """Yield an agent that runs until the end of the block, unless it is ended before."""
    agent = PretendAgent(home)
    agent.start(version, started_at)
    try:
        yield agent
    finally:
        agent.end()
