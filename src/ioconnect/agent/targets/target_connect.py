"""Connects to the target without blocking, by happy eyeballs (RFC 8305 §5). Belongs to the loop's thread."""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from typing import TYPE_CHECKING

from ioconnect.agent.dial.happy_eyeballs import ATTEMPT_DELAY
from ioconnect.ssh.loop import WRITE
from ioconnect.tcp import is_self_connected, keep_alive, reset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ioconnect.agent.dial.resolve import Address
    from ioconnect.agent.targets.target_addresses import TargetAddresses
    from ioconnect.ssh.loop import Loop

_NONBLOCK = getattr(socket, "SOCK_NONBLOCK", 0)  # Linux: one system call less
CONNECT_TIMEOUT = 10.0  # seconds for all addresses of the target together
RETRY_DELAY = 0.1  # seconds until a Unix socket is tried again whose backlog is full
LOOKUP_PATIENCE = 3.0  # seconds for a lookup, after which older addresses are tried
FOREVER = float("inf")


class TargetConnect:
    """One connection to the target: its addresses one after another, the next when one fails or is silent for 250 ms.

    A subclass says what to do with the outcome, of which there is exactly one unless it is cancelled. Whoever owns it
    calls `expire` when it is `due`; `deadline` is when it fails.
    """

    __slots__ = ("_attempts", "_codes", "_failures", "_next_at", "_queue", "deadline", "loop", "over", "target")

    def __init__(self, target: TargetAddresses, loop: Loop) -> None:
        self.target = target
        self.loop = loop
        self.deadline = loop.now + CONNECT_TIMEOUT
        self.over = False
        self._next_at = FOREVER  # when to try the next address, or older ones
        self._queue: deque[Address] | None = None  # addresses to be tried; None: not looked up yet
        self._attempts: dict[int, tuple[socket.socket, Address, float]] = {}  # by descriptor; the last: since when
        self._failures: list[str] = []
        self._codes: set[int] = set()

    def connected(self, sock: socket.socket) -> None:
        """Take over the connected socket."""
        raise NotImplementedError

    def failed(self, why: str, codes: frozenset[int]) -> None:
        """Take note that no address took the connection: `why` in words, `codes` the errnos."""
        raise NotImplementedError

    def begin(self) -> None:
        """Ask for the target's addresses and try them."""
        self.target.get(self._resolved)
        if self._queue is None and self.target.known:
            self._next_at = self.loop.now + LOOKUP_PATIENCE
        self._arm()

    @property
    def due(self) -> float:
        """When to call `expire`."""
        return min(self.deadline, self._next_at)

    def expire(self, now: float) -> None:
        """Do what is due: fail, try the next address, or the older ones if the resolver hangs."""
        if now >= self.deadline:
            self.time_out()
        elif now >= self._next_at and self._queue is None:
            self._resolved(self.target.keep())
        elif now >= self._next_at:
            self._next()

    def _arm(self) -> None:
        if not self.over:
            self.loop.next_timer = min(self.loop.next_timer, self.due)

    def _resolved(self, addresses: Sequence[Address]) -> None:
        if self.over or self._queue is not None:
            return  # timed out, cancelled, or out of patience, while the name was being resolved
        if not addresses:
            self._failures.append(f"its name does not resolve ({self.target.problem})")
        self._queue = deque(addresses)
        self._next()

    def _next(self) -> None:
        """Try addresses until one is connected or on its way."""
        assert self._queue is not None
        self._next_at = FOREVER
        while self._queue and self._next_at == FOREVER:
            self._start(self._queue, self._queue.popleft())
            if self.over:
                return
        if not self._queue:
            self._next_at = FOREVER
            if not self._attempts:
                self._fail()
        self._arm()

    def _start(self, queue: deque[Address], address: Address) -> None:
        """Begin to connect; `_next_at` says so if that is neither connected nor refused by now."""
        try:
            sock = socket.socket(address.family, socket.SOCK_STREAM | _NONBLOCK)
            if not _NONBLOCK:
                sock.setblocking(False)
        except OSError as error:  # out of descriptors, or no such family here
            self._address_failed(address, error.errno or errno.EIO)
            return
        is_unix = address.family == socket.AF_UNIX
        where = address.sockaddr[0] if is_unix else address.sockaddr
        code = sock.connect_ex(where)
        if code == errno.EINPROGRESS:
            # On loopback the handshake is over when the call returns, though it does not say so.
            code = sock.connect_ex(where)
        if code in (errno.EALREADY, errno.EINPROGRESS):
            fd = sock.fileno()
            try:
                self.loop.watch(fd, WRITE, lambda _mask: self._ready(fd))
            except OSError as error:  # the kernel watches no more (epoll_ctl(2))
                self._ended(sock, address, error.errno or errno.EIO)
                return
            self._attempts[fd] = (sock, address, self.loop.now)
            self._next_at = self.loop.now + ATTEMPT_DELAY
        elif code == errno.EAGAIN and is_unix:  # the server's backlog is full; no event tells when it is not
            sock.close()
            queue.appendleft(address)
            self._next_at = self.loop.now + RETRY_DELAY
        else:
            self._ended(sock, address, 0 if code == errno.EISCONN else code)

    def _ready(self, fd: int) -> None:
        sock, address, _ = self._attempts.pop(fd)
        self.loop.unwatch(fd)
        self._ended(sock, address, sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        if not self.over:
            self._next()

    def _ended(self, sock: socket.socket, address: Address, code: int) -> None:
        """Hand the socket over if it is connected, and close the others."""
        if code:
            sock.close()
            self._address_failed(address, code)
            return
        if address.family != socket.AF_UNIX:
            if sock.getsockname()[1] == address.sockaddr[1] and is_self_connected(sock):
                reset(sock)
                self._address_failed(address, errno.ECONNREFUSED)
                return
            _tune(sock, address.sockaddr[0])
        if self._attempts:
            self._note_silent()
        self._end()
        self.target.connected(address)
        self.connected(sock)

    def _note_silent(self) -> None:
        for _, address, began in self._attempts.values():
            if self.loop.now - began >= ATTEMPT_DELAY:
                self.target.silent(address)

    def _address_failed(self, address: Address, code: int) -> None:
        self._failures.append(f"{address}: {os.strerror(code)}")
        self._codes.add(code)

    def _end(self) -> None:
        if self.loop.next_timer == self.due:
            self.loop.next_timer = self.loop.now  # computed again: nothing is due then any more
        self.cancel()

    def _fail(self) -> None:
        self._end()
        if self.target.problem and self.target.known:
            self._failures.append(f"its name could not be looked up again ({self.target.problem})")
        self.target.invalidate()
        self.failed("; ".join(self._failures), frozenset(self._codes))

    def time_out(self) -> None:
        """Its time is up."""
        if self._queue is None:
            self._failures.append(f"no answer in {CONNECT_TIMEOUT:.0f} s from the resolver")
        for _, address, began in self._attempts.values():
            self._failures.append(f"{address}: no answer in {self.loop.now - began:.0f} s")
            self._codes.add(errno.ETIMEDOUT)
        for address in self._queue or ():  # a Unix socket, as others are all tried by now
            self._address_failed(address, errno.EAGAIN)
        self._note_silent()
        self._fail()

    def cancel(self) -> None:
        """Let it go, without a further call."""
        self.over = True
        self._next_at = FOREVER
        for fd, (sock, _, _) in self._attempts.items():
            self.loop.unwatch(fd)
            sock.close()
        self._attempts.clear()


def _tune(sock: socket.socket, host: str) -> None:
    """Best effort: the peer may have reset it by now (macOS: EINVAL), which reading tells."""
    try:  # noqa: SIM105  a third of the time, for every connection
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        pass
    if host != "::1" and not host.startswith("127."):  # there no peer can vanish without a reset
        keep_alive(sock)
