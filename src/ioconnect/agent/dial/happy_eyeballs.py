"""The first connection that any of a host's addresses gives: Happy Eyeballs (RFC 8305), in one select loop.

An attempt starts when the one before has failed, or has been silent for the connection attempt delay (RFC 8305 §5).
One that stays silent is made anew every few seconds: left alone, the kernel would send its SYNs ever further apart
(RFC 6298 §5.5), and a path that is whole again would go unnoticed for so long.
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
from ioconnect.agent.dial.connect_failures import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ioconnect.agent.dial.deadline import Waiting
    from ioconnect.agent.dial.resolve import Address

ATTEMPT_DELAY = 0.25  # seconds; RFC 8305 §8

# Taken again, an old source port needs the jumphost's challenge ACK, our RST and another SYN: with the usual delay
# another address would win, and the port would still be held.
SOURCE_HEAD_START = 3.5  # seconds

RENEW_EVERY = 3.0  # seconds of silence; by then the kernel has sent SYNs at 0 and 1 s, the newer ones also at 2 s
LAST_PATIENCE = 10.0  # seconds left from which on nothing is renewed: for a path that takes that long
CHALLENGE_POLL = 0.1  # seconds; nothing else tells that an old source port was answered with a challenge ACK

# What connect(2) says when the old source port or address cannot be used any more.
_LOCAL_ERRORS = frozenset(
    {errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EINVAL, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES}
)


@dataclass(frozen=True, slots=True)
class SourcePort:
    """The local end of a connection that was cut, and the remote address it led to (None: not known)."""

    address: str
    port: int
    peer: str | None = None

    def fits(self, address: Address) -> bool:
        """Say whether a connection to `address` may take this local end again."""
        try:
            version = ipaddress.ip_address(self.address).version
        except ValueError:
            return False
        family = socket.AF_INET if version == 4 else socket.AF_INET6  # noqa: PLR2004  IP's version, no magic
        return address.family == family and self.peer in (None, str(address))


class NoneConnected(Exception):
    """Every attempt failed; `failures` is the evidence, one for each address tried."""

    def __init__(self, failures: list[Failure]) -> None:
        super().__init__()
        self.failures = failures


def interleaved(addresses: Iterable[Address], *, peer: str | None = None) -> list[Address]:
    """Return the addresses, none twice, families in turn (RFC 8305 §4); `peer` first if it is among them."""
    unique = list(dict.fromkeys(addresses))
    unique.sort(key=lambda address: str(address) != peer)  # stable: the resolver's order otherwise
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
    addresses: Sequence[Address], waiting: Waiting, *, source: SourcePort | None = None
) -> socket.socket:
    """Return the first connection, non-blocking; every other attempt is closed.

    Tries in the order given. Raises NoneConnected when all have failed or the deadline is there; DialCancelled.
    """
    race = _Race(addresses, source)
    try:
        return race.run(waiting)
    finally:
        race.close_all()


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One connect under way."""

    address: Address
    source: SourcePort | None
    renew_at: float  # monotonic seconds


class _Race:
    """The attempts under way, and those to come."""

    def __init__(self, addresses: Sequence[Address], source: SourcePort | None) -> None:
        self._to_come = deque((a, source if source is not None and source.fits(a) else None) for a in addresses)
        self._under_way: dict[socket.socket, _Attempt] = {}
        self._failures: list[Failure] = []
        self._next_at = 0.0  # monotonic seconds

    def run(self, waiting: Waiting) -> socket.socket:
        while self._to_come or self._under_way:
            if waiting.remaining() == 0.0:
                break
            if self._to_come and (not self._under_way or time.monotonic() >= self._next_at):
                self._begin(*self._to_come.popleft())
                continue
            try:
                ready = self._turn(waiting).ready(dict.fromkeys(self._under_way, selectors.EVENT_WRITE))
            except TimeoutError:
                self._renew(waiting.remaining())
                continue
            for sock in ready:
                if self._finished(sock):
                    del self._under_way[sock]
                    return sock
        self._failures += [_failure(attempt.address, errno.ETIMEDOUT) for attempt in self._under_way.values()]
        if not self._failures:  # the deadline was there before the first attempt
            self._failures = [_failure(address, errno.ETIMEDOUT) for address, _ in self._to_come]
        raise NoneConnected(self._failures)

    def close_all(self) -> None:
        for sock in self._under_way:
            sock.close()
        self._under_way.clear()

    def _turn(self, waiting: Waiting) -> Waiting:
        """Return the wait until something is due: the next address, an attempt's renewal, a look at the challenge."""
        due = [attempt.renew_at for attempt in self._under_way.values() if waiting.remaining() > LAST_PATIENCE]
        if self._to_come:
            due.append(self._next_at)
        if any(attempt.source is not None for attempt in self._under_way.values()):
            due.append(time.monotonic() + CHALLENGE_POLL)
        return waiting.until(min(due)) if due else waiting

    def _begin(self, address: Address, source: SourcePort | None) -> None:
        """Start the first attempt at an address; the next address has its turn when this one had a head start."""
        self._next_at = time.monotonic() + (ATTEMPT_DELAY if source is None else SOURCE_HEAD_START)
        self._start(address, source)

    def _renew(self, remaining: float) -> None:
        """Make those attempts anew that were silent for long, or met the jumphost's memory of the old connection."""
        now = time.monotonic()
        for sock, attempt in list(self._under_way.items()):
            silent = now >= attempt.renew_at and remaining > LAST_PATIENCE
            if silent or (attempt.source is not None and was_challenged(sock)):
                del self._under_way[sock]
                sock.close()
                self._start(attempt.address, attempt.source)

    def _start(self, address: Address, source: SourcePort | None) -> None:
        try:
            sock = socket.socket(address.family, socket.SOCK_STREAM)
        except OSError as error:
            self._failures.append(_failure(address, error.errno or errno.EIO))
            return
        sock.setblocking(False)
        if source is not None and not _bound(sock, source):
            source = None
            self._next_at = min(self._next_at, time.monotonic() + ATTEMPT_DELAY)
        self._under_way[sock] = _Attempt(address, source, time.monotonic() + RENEW_EVERY)
        code = sock.connect_ex(address.sockaddr)
        if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            self._failed(sock, code)

    def _finished(self, sock: socket.socket) -> bool:
        """Say whether this attempt, which select reported, is a connection; put it away if not."""
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == 0 and _connected_to_itself(sock):
            code = errno.ECONNREFUSED
        if code == 0:
            return True
        self._failed(sock, code)
        return False

    def _failed(self, sock: socket.socket, code: int) -> None:
        attempt = self._under_way.pop(sock)
        sock.close()
        self._next_at = 0.0
        if attempt.source is not None and code in _LOCAL_ERRORS:
            self._to_come.appendleft((attempt.address, None))
        else:
            self._failures.append(_failure(attempt.address, code))


def _failure(address: Address, code: int) -> Failure:
    return Failure(str(address), code, os.strerror(code))


def _bound(sock: socket.socket, source: SourcePort) -> bool:
    """Take the old local end again; say whether that worked."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((source.address, source.port))
    except (OSError, OverflowError):
        return False
    return True


def _connected_to_itself(sock: socket.socket) -> bool:
    """Say whether TCP's simultaneous open met itself: an ephemeral port that is the one we dial, on loopback."""
    with contextlib.suppress(OSError):
        return bool(sock.getsockname() == sock.getpeername())
    return False
