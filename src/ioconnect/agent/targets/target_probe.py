"""One probe of a target that refused: a TCP connection that carries nothing and is closed at once.

A MySQL or MariaDB server would count that as an error of this machine (`mysql_handshake`), so there the handshake is
finished. It greets first, which shows a server on an unusual port too. Belongs to the loop's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ioconnect.agent.targets.mysql_handshake import RefusedSignIn
from ioconnect.agent.targets.target_connect import TargetConnect
from ioconnect.ssh.loop import READ

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from ioconnect.agent.targets.target_addresses import TargetAddresses
    from ioconnect.ssh.loop import Loop

MYSQL_PORT = 3306
CLIENT_FIRST = frozenset({1433, 1521, 5432, 6379, 27017})  # ports of databases that do not greet
GREETING_TIMEOUT = 1.0  # seconds that a server on another port has to greet
MYSQL_TIMEOUT = 10.0  # seconds for the whole handshake: a server that looks names up is slow to greet
READ_SIZE = 4096


class TargetProbe(TargetConnect):
    """One probe. `answered` or `refused` is called with the outcome, then `done`, once its socket is closed."""

    __slots__ = ("_answered", "_done", "_leaving", "_port", "_refused", "_sign_in")

    def __init__(
        self,
        target: TargetAddresses,
        loop: Loop,
        port: int,
        *,
        answered: Callable[[], None],
        refused: Callable[[str, frozenset[int]], None],
        done: Callable[[], None],
    ) -> None:
        super().__init__(target, loop)
        self._port = port
        self._answered = answered
        self._refused = refused
        self._done = done
        self._leaving: socket.socket | None = None  # connected, the handshake is not over
        self._sign_in = RefusedSignIn()

    def connected(self, sock: socket.socket) -> None:
        """The target answers: close at once, or after the handshake where it may be MySQL or MariaDB."""
        if self._port in CLIENT_FIRST:
            sock.close()
        else:
            self._leaving = sock
            self.deadline = self.loop.now + (MYSQL_TIMEOUT if self._port == MYSQL_PORT else GREETING_TIMEOUT)
            self.loop.next_timer = min(self.loop.next_timer, self.deadline)
            self.loop.watch(sock.fileno(), READ, self._received)
        self._answered()
        if self._leaving is None:
            self._done()

    def failed(self, why: str, codes: frozenset[int]) -> None:
        """The target does not answer."""
        self._refused(why, codes)
        self._done()

    def expire(self, now: float) -> None:
        """Go on with the connect, or end the handshake if its time is up."""
        if self._leaving is None:
            super().expire(now)
        elif now >= self.deadline:
            self._leave()
            self._done()

    def cancel(self) -> None:
        """Close whatever is open, without a further call."""
        super().cancel()
        self._leave()

    @property
    def is_connecting(self) -> bool:
        """Whether there is no outcome yet."""
        return not self.over

    def _received(self, _mask: int) -> None:
        sock, sign_in = self._leaving, self._sign_in
        assert sock is not None
        greeted = sign_in.is_mysql
        try:
            reply = sign_in.feed(sock.recv(READ_SIZE))
            if reply:
                sock.send(reply)  # less than 100 bytes, on an empty buffer
        except BlockingIOError:
            return
        except OSError:
            sign_in.over = True
        if sign_in.is_mysql and not greeted:
            self.deadline = self.loop.now + MYSQL_TIMEOUT
        if sign_in.over:
            self._leave()
            self._done()

    def _leave(self) -> None:
        if self._leaving is not None:
            self.loop.unwatch(self._leaving.fileno())
            self._leaving.close()
            self._leaving = None
