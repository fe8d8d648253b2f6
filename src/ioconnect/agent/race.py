"""The first connection that any of a host's addresses gives: Happy Eyeballs (RFC 8305), in one select loop.

An attempt starts when the one before has failed, or has been silent for the connection attempt delay (RFC 8305 §5).
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

from ioconnect.agent.evidence import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ioconnect.agent.resolve import Address
    from ioconnect.agent.waiting import Waiting

ATTEMPT_DELAY = 0.25  # seconds; RFC 8305 §8

# Taken again, an old source port needs the jumphost's challenge ACK, our RST and a SYN sent again after one second
# (RFC 6298 §2), or three: with the usual delay another address would win, and the port would still be held.
SOURCE_HEAD_START = 3.5  # seconds

# What connect(2) says when the old source port or address cannot be used any more.
_LOCAL_ERRORS = frozenset(
    {errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EINVAL, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES}
)


@dataclass(frozen=True, slots=True)
class Source:
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


def connect_first(addresses: Sequence[Address], waiting: Waiting, *, source: Source | None = None) -> socket.socket:
    """Return the first connection, non-blocking; every other attempt is closed.

    Tries in the order given. Raises NoneConnected when all have failed or the deadline is there; DialCancelled.
    """
    race = _Race(addresses, source)
    try:
        return race.run(waiting)
    finally:
        race.close_all()


class _Race:
    """The attempts under way, and those to come."""

    def __init__(self, addresses: Sequence[Address], source: Source | None) -> None:
        self._to_come = deque((a, source if source is not None and source.fits(a) else None) for a in addresses)
        self._under_way: dict[socket.socket, tuple[Address, Source | None]] = {}
        self._failures: list[Failure] = []
        self._next_at = 0.0  # monotonic seconds

    def run(self, waiting: Waiting) -> socket.socket:
        while self._to_come or self._under_way:
            if waiting.remaining() == 0.0:
                break
            if self._to_come and (not self._under_way or time.monotonic() >= self._next_at):
                self._start(*self._to_come.popleft())
                continue
            turn = waiting.until(self._next_at) if self._to_come else waiting
            try:
                ready = turn.ready(dict.fromkeys(self._under_way, selectors.EVENT_WRITE))
            except TimeoutError:
                continue  # the next one's turn, or the deadline
            for sock in ready:
                if self._finished(sock):
                    del self._under_way[sock]
                    return sock
        self._failures += [_failure(address, errno.ETIMEDOUT) for address, _ in self._under_way.values()]
        if not self._failures:  # the deadline was there before the first attempt
            self._failures = [_failure(address, errno.ETIMEDOUT) for address, _ in self._to_come]
        raise NoneConnected(self._failures)

    def close_all(self) -> None:
        for sock in self._under_way:
            sock.close()
        self._under_way.clear()

    def _start(self, address: Address, source: Source | None) -> None:
        try:
            sock = socket.socket(address.family, socket.SOCK_STREAM)
        except OSError as error:
            self._failures.append(_failure(address, error.errno or errno.EIO))
            return
        sock.setblocking(False)
        if source is not None and not _bound(sock, source):
            source = None
        self._under_way[sock] = (address, source)
        code = sock.connect_ex(address.sockaddr)
        if code in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            self._next_at = time.monotonic() + (ATTEMPT_DELAY if source is None else SOURCE_HEAD_START)
        else:
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
        address, source = self._under_way.pop(sock)
        sock.close()
        self._next_at = 0.0
        if source is not None and code in _LOCAL_ERRORS:
            self._to_come.appendleft((address, None))
        else:
            self._failures.append(_failure(address, code))


def _failure(address: Address, code: int) -> Failure:
    return Failure(str(address), code, os.strerror(code))


def _bound(sock: socket.socket, source: Source) -> bool:
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
