"""Connects to the target. Belongs to the loop's thread."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

from ioconnect.ssh.connection.forwarded_connection import reset
from ioconnect.ssh.loop import WRITE

if TYPE_CHECKING:
    from ioconnect.agent.target.target_addresses import Address, TargetAddresses
    from ioconnect.ssh.loop import Loop

_NONBLOCK = getattr(socket, "SOCK_NONBLOCK", 0)  # Linux: one system call less
LOOPBACK = {"127.0.0.1", "::1"}
CONNECT_TIMEOUT = 10.0  # seconds for all addresses of the target together


class TargetConnect:
    """One attempt to connect to the target: its addresses one after another, without blocking.

    A subclass says what to do with the outcome, of which there is exactly one unless it is cancelled.
    """

    __slots__ = ("_addresses", "_codes", "_failures", "_fd", "_sock", "deadline", "loop", "over", "target")

    def __init__(self, target: TargetAddresses, loop: Loop) -> None:
        self.target = target
        self.loop = loop
        self.deadline = loop.now + CONNECT_TIMEOUT
        self.over = False
        self._addresses: list[Address] = []
        self._failures: list[str] = []
        self._codes: set[int] = set()
        self._sock: socket.socket | None = None
        self._fd = -1

    def connected(self, sock: socket.socket) -> None:
        """Take over the connected socket."""
        raise NotImplementedError

    def failed(self, why: str, codes: frozenset[int]) -> None:
        """Take note that no address took the connection: `why` in words, `codes` the errnos."""
        raise NotImplementedError

    def begin(self) -> None:
        """Ask for the target's addresses and try them one after another."""
        self.target.get(self._resolved)
        if not self.over:
            self.loop.next_timer = min(self.loop.next_timer, self.deadline)

    def _resolved(self, addresses: list[Address]) -> None:
        if self.over:
            return  # timed out, or the session ended, while the name was being resolved
        if not addresses:
            self._failures.append("its name does not resolve")
        self._addresses = list(addresses)
        self._next()

    def _next(self) -> None:
        """Try addresses until one connects at once or is on its way."""
        while self._addresses:
            family, where = self._addresses[0]
            try:
                sock = socket.socket(family, socket.SOCK_STREAM | _NONBLOCK)
                if not _NONBLOCK:
                    sock.setblocking(False)
            except OSError as error:  # out of descriptors, or no such family here
                self._address_failed(error.errno or errno.EIO)
                continue
            self._sock = sock
            code = sock.connect_ex(where)
            if code == errno.EINPROGRESS:
                # On loopback the handshake is over when the call returns, though it does not say so.
                code = sock.connect_ex(where)
            if code in (0, errno.EISCONN):
                self._succeed()
                return
            if code in (errno.EALREADY, errno.EINPROGRESS):
                self._fd = sock.fileno()
                self.loop.watch(self._fd, WRITE, self._ready)
                return
            self._address_failed(code)
        self._fail()

    def _ready(self, _mask: int) -> None:
        assert self._sock is not None
        code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._unwatch()
        if code:
            self._address_failed(code)
            self._next()
        else:
            self._succeed()

    def _succeed(self) -> None:
        sock, address = self._sock, self._addresses[0]
        assert sock is not None
        if sock.getsockname()[:2] == address[1][:2]:
            # Nothing listens, and the kernel chose the target's port for us: TCP's simultaneous open with ourselves.
            reset(sock)
            self._address_failed(errno.ECONNREFUSED)
            self._next()
            return
        self._sock = None
        self._end()
        self.target.connected(address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if address[1][0] not in LOOPBACK:  # there no peer can vanish without a reset
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.connected(sock)

    def _address_failed(self, code: int) -> None:
        where = self._addresses.pop(0)[1]
        self._failures.append(f"{where[0]}: {os.strerror(code)}")
        self._codes.add(code)
        self._drop()

    def _end(self) -> None:
        self.over = True
        if self.loop.next_timer == self.deadline:
            self.loop.next_timer = self.loop.now  # computed again: nothing is due at our deadline any more

    def _fail(self) -> None:
        self._end()
        self.target.invalidate()
        self.failed("; ".join(self._failures), frozenset(self._codes))

    def time_out(self) -> None:
        """Its time is up."""
        where = f"{self._addresses[0][1][0]}: " if self._addresses else ""
        self._failures.append(f"{where}no answer in {CONNECT_TIMEOUT:.0f} s")
        if self._addresses:
            self._codes.add(errno.ETIMEDOUT)  # otherwise it was the resolver that did not answer
        self._unwatch()
        self._drop()
        self._fail()

    def cancel(self) -> None:
        """Let it go, without an outcome."""
        self.over = True
        self._unwatch()
        self._drop()

    def _unwatch(self) -> None:
        if self._fd >= 0:
            self.loop.unwatch(self._fd)
            self._fd = -1

    def _drop(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None
