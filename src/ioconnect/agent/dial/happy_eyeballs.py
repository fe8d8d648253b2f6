"""Happy Eyeballs (RFC 8305): connect to the first address that answers, in one select loop.

The next attempt starts when the last one failed, or has had no answer for the connection attempt delay (RFC 8305 §5).
An attempt without an answer is restarted every few seconds: the kernel doubles the time between its SYNs (RFC 6298
§5.5), so a path that recovers would be found late.

An address that is dialed from the source port of a lost connection is soon dialed from an ordinary port as well: a
load balancer or a stateful firewall on the way may swallow what comes from the old one.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import selectors
import socket
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ioconnect.agent.dial.challenge_ack import was_challenged
from ioconnect.agent.dial.connect_failures import ConnectFailure
from ioconnect.tcp import is_self_connected, reset

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ioconnect.agent.dial.deadline import Deadline
    from ioconnect.agent.dial.resolve import Address

ATTEMPT_DELAY = 0.25  # seconds; RFC 8305 §8
# The head start of a reused source port: the jumphost's challenge ACK, our RST and another SYN take two round trips
# and CHALLENGE_POLL, a lost SYN another second. If an ordinary port wins, the dead session keeps the tunnel's port.
SOURCE_PORT_ATTEMPT_DELAY = 2.0  # seconds
RESTART_AFTER = 3.0  # seconds without an answer; the kernel has then sent SYNs at 0 and 1 s, newer ones also at 2 s
LAST_RESTART = 10.0  # seconds before the deadline; the last attempt has that long, for a slow path
CHALLENGE_POLL = 0.1  # seconds; no event reports a challenge ACK

# Errors of connect(2) when the source address or port cannot be used.
_LOCAL_ERRORS = frozenset(
    {errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EINVAL, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES}
)


@dataclass(frozen=True, slots=True)
class SourcePort:
    """Local address and port of a connection, and the remote address it was connected to (None: not known)."""

    address: str
    port: int
    peer: str | None = None

    def fits(self, address: Address) -> bool:
        """Say whether a connection to `address` may use this source address and port."""
        try:
            version = ipaddress.ip_address(self.address).version
        except ValueError:
            return False
        family = socket.AF_INET if version == 4 else socket.AF_INET6  # noqa: PLR2004  IP's version, no magic
        return address.family == family and self.peer in (None, str(address))

    def is_of(self, sock: socket.socket) -> bool:
        """Say whether the socket is connected from this address and port."""
        with contextlib.suppress(OSError):
            return bool(sock.getsockname()[:2] == (self.address, self.port))
        return False


class AllAttemptsFailed(Exception):
    """No address could be connected; `failures` has one entry for each attempt."""

    def __init__(self, failures: list[ConnectFailure]) -> None:
        super().__init__()
        self.failures = failures


def interleaved(addresses: Iterable[Address], *, peer: str | None = None) -> list[Address]:
    """Return the distinct addresses with families interleaved (RFC 8305 §4); `peer` first if it is one."""
    unique = list(dict.fromkeys(addresses))
    unique.sort(key=lambda address: str(address) != peer)  # stable: otherwise in the resolver's order
    families: dict[int, deque[Address]] = {}
    for address in unique:
        families.setdefault(address.family, deque()).append(address)
    order: list[Address] = []
    while families:
        for family in list(families):
            order.append(families[family].popleft())
            if not families[family]:
                del families[family]
    return order


def connect_first(
    addresses: Sequence[Address], deadline: Deadline, *, source: SourcePort | None = None, bind_address: str = ""
) -> socket.socket:
    """Return the first connection, non-blocking; all other attempts are closed.

    All come from `bind_address`, if that is given; it is of the addresses' family.

    Tries the addresses in their order. Raises AllAttemptsFailed, also at the deadline; DialCancelled.
    """
    attempts = _Attempts(addresses, source, bind_address)
    try:
        return attempts.run(deadline)
    finally:
        attempts.close_all()


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One connect in progress."""

    address: Address
    source: SourcePort | None
    restart_at: float  # monotonic seconds


class _Attempts:
    """The connects in progress, and the addresses that are still to be tried."""

    def __init__(self, addresses: Sequence[Address], source: SourcePort | None, bind_address: str) -> None:
        self._bind_address = bind_address
        self._queue: deque[tuple[Address, SourcePort | None]] = deque()
        for address in addresses:
            if source is not None and source.fits(address):
                self._queue.append((address, source))
            self._queue.append((address, None))
        self._in_progress: dict[socket.socket, _Attempt] = {}
        self._failures: list[ConnectFailure] = []
        self._next_at = 0.0  # monotonic seconds

    def run(self, deadline: Deadline) -> socket.socket:
        while self._queue or self._in_progress:
            if deadline.remaining() == 0.0:
                break
            if self._queue and (not self._in_progress or time.monotonic() >= self._next_at):
                self._start_next(*self._queue.popleft())
                continue
            try:
                ready = self._next_timer(deadline).wait(dict.fromkeys(self._in_progress, selectors.EVENT_WRITE))
            except TimeoutError:
                self._restart(deadline.remaining())
                continue
            for sock in ready:
                if self._is_connected(sock):
                    del self._in_progress[sock]
                    return sock
        self._failures += [_failure(attempt.address, errno.ETIMEDOUT) for attempt in self._in_progress.values()]
        if not self._failures:  # the deadline had passed before the first attempt
            self._failures = [_failure(address, errno.ETIMEDOUT) for address, _ in self._queue]
        raise AllAttemptsFailed(self._failures)

    def close_all(self) -> None:
        for sock in self._in_progress:
            sock.close()
        self._in_progress.clear()

    def _next_timer(self, deadline: Deadline) -> Deadline:
        """Return when to act without an event: start the next attempt, restart one, or poll for a challenge ACK."""
        due = [a.restart_at for a in self._in_progress.values() if deadline.remaining() > LAST_RESTART]
        if self._queue:
            due.append(self._next_at)
        if any(attempt.source is not None for attempt in self._in_progress.values()):
            due.append(time.monotonic() + CHALLENGE_POLL)
        return deadline.earlier(min(due)) if due else deadline

    def _start_next(self, address: Address, source: SourcePort | None) -> None:
        """Start the first attempt at an address, and the delay before the next address."""
        self._next_at = time.monotonic() + (ATTEMPT_DELAY if source is None else SOURCE_PORT_ATTEMPT_DELAY)
        self._start(address, source)

    def _restart(self, remaining: float) -> None:
        """Restart the attempts that had no answer for RESTART_AFTER, or a challenge ACK."""
        now = time.monotonic()
        for sock, attempt in list(self._in_progress.items()):
            unanswered = now >= attempt.restart_at and remaining > LAST_RESTART
            if unanswered or (attempt.source is not None and was_challenged(sock)):
                del self._in_progress[sock]
                sock.close()
                self._start(attempt.address, attempt.source)

    def _start(self, address: Address, source: SourcePort | None) -> None:
        try:
            sock = socket.socket(address.family, socket.SOCK_STREAM)
        except OSError as error:
            self._failures.append(_failure(address, error.errno or errno.EIO))
            return
        sock.setblocking(False)
        if source is not None and not _bind(sock, source):
            sock.close()
            self._next_at = 0.0  # an ordinary port is next, if it was not tried yet
            return
        if source is None and self._bind_address:
            try:
                sock.bind((self._bind_address, 0))
            except OSError as error:
                sock.close()
                self._failures.append(_failure(address, error.errno or errno.EADDRNOTAVAIL))
                self._next_at = 0.0
                return
        self._in_progress[sock] = _Attempt(address, source, time.monotonic() + RESTART_AFTER)
        code = sock.connect_ex(address.sockaddr)
        if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            self._failed(sock, code)

    def _is_connected(self, sock: socket.socket) -> bool:
        """Say whether this attempt, which select reported, connected; remove it if it failed."""
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == 0 and is_self_connected(sock):
            code = errno.ECONNREFUSED
            reset(sock)
        if code == 0:
            return True
        self._failed(sock, code)
        return False

    def _failed(self, sock: socket.socket, code: int) -> None:
        attempt = self._in_progress.pop(sock)
        sock.close()
        self._next_at = 0.0
        if attempt.source is None or code not in _LOCAL_ERRORS:
            self._failures.append(_failure(attempt.address, code))


def _failure(address: Address, code: int) -> ConnectFailure:
    return ConnectFailure(str(address), code, os.strerror(code))


def _bind(sock: socket.socket, source: SourcePort) -> bool:
    """Bind to the source address and port; say whether that succeeded."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((source.address, source.port))
    except (OSError, OverflowError):
        return False
    return True
