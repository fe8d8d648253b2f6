"""Loop, clock and network in one, for what connects to a target: sockets whose connects end as the test says."""

from __future__ import annotations

import errno
import queue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FOREVER = float("inf")
SILENT = errno.EINPROGRESS  # as the result of a connect: it has not ended


class ScriptedSocket:
    """A socket whose connect ends as the network says; `sent` is what was said to the server."""

    def __init__(self, network: ScriptedNetwork, fd: int) -> None:
        self.network = network
        self.fd = fd
        self.closed = False
        self.host = ""
        self.options: dict[int, int] = {}
        self.incoming: list[bytes] = []
        self.sent = b""
        self.family = 0

    def fileno(self) -> int:
        return self.fd

    def connect_ex(self, where: tuple[str, int] | str) -> int:
        self.host = where if isinstance(where, str) else where[0]
        return self.network.result(self.host)

    def getsockopt(self, _level: int, _option: int) -> int:
        return self.network.result(self.host)

    def setsockopt(self, _level: int, option: int, value: int) -> None:
        self.options[option] = value

    def getsockname(self) -> tuple[str, int]:
        return ("10.0.0.9", 40_000)

    def getpeername(self) -> tuple[str, int]:
        return ("10.0.0.1", 5432)

    def recv(self, _size: int) -> bytes:
        if not self.incoming:
            raise BlockingIOError
        return self.incoming.pop(0)

    def send(self, data: bytes) -> int:
        self.sent += data
        return len(data)

    def close(self) -> None:
        self.closed = True


class ScriptedNetwork:
    """`results` are the errnos of connects by host, `connect_result` that of all others; 0 connects.

    A subclass has `expire`, which is served by `advance` as the session serves its timer.
    """

    def __init__(self) -> None:
        self.now = 100.0
        self.next_timer = FOREVER
        self.posted: queue.Queue[Callable[[], None]] = queue.Queue()
        self.post = self.posted.put
        self.watched: dict[int, tuple[int, Callable[[int], None]]] = {}
        self.results: dict[str, int] = {}
        self.connect_result = errno.ECONNREFUSED
        self.sockets: list[ScriptedSocket] = []
        self.attempts: list[float] = []

    def result(self, host: str) -> int:
        return self.results.get(host, self.connect_result)

    def make_socket(self, *_: object) -> ScriptedSocket:
        """Stand in for socket.socket."""
        self.attempts.append(self.now)
        self.sockets.append(ScriptedSocket(self, len(self.sockets) + 10))
        return self.sockets[-1]

    def expire(self, now: float) -> float:
        """Do what is due; return when to come back."""
        raise NotImplementedError

    # Loop

    def watch(self, fd: int, mask: int, call: Callable[[int], None]) -> None:
        self.watched[fd] = (mask, call)

    def unwatch(self, fd: int) -> None:
        del self.watched[fd]

    # the test

    def run_posted(self) -> None:
        """Run the next posted call; a lookup's thread posts it soon."""
        self.posted.get(timeout=20)()

    def advance(self, seconds: float) -> None:
        """Let time pass, serving the timer as the session does."""
        end = self.now + seconds
        while self.next_timer <= end:
            self.now = max(self.now, self.next_timer)
            self.next_timer = FOREVER  # what is not said again is forgotten
            self.next_timer = min(self.next_timer, self.expire(self.now))
        self.now = end

    def ready(self, mask: int, sock: ScriptedSocket | None = None) -> None:
        """Have a socket, the newest if not said, become ready."""
        wanted, call = self.watched[(sock or self.sockets[-1]).fd]
        assert wanted == mask
        call(mask)
