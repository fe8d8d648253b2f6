"""The target's addresses: resolved off the loop, the one that took the last connection first.

getaddrinfo(3) blocks, so a name is resolved on a thread of its own, and an answer that is a few seconds old is used
while a new lookup runs. Everything else belongs to the loop's thread.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from ioconnect.config.addresses import HostPort
    from ioconnect.ssh.loop import Loop

Address: TypeAlias = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]

REFRESH_AFTER = 5.0  # seconds; how soon a database that fails over by DNS is found again
MAX_AGE = 60.0  # seconds for which an older answer is still used while it is refreshed


def system_lookup(host: str, port: int) -> list[Address]:
    """Return the addresses in getaddrinfo(3)'s order. Blocks; raises gaierror."""
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, sockaddr) for family, _, _, _, sockaddr in answers]  # type: ignore[misc]  # two shapes, by family


class TargetAddresses:
    """A cache of the target's addresses; `lookup` blocks, and raises OSError for a name that does not resolve."""

    def __init__(
        self, target: HostPort, loop: Loop, lookup: Callable[[str, int], list[Address]] | None = None
    ) -> None:
        self._target = target
        self._loop = loop
        self._lookup = lookup or system_lookup
        self._addresses: list[Address] = []
        self._resolved_at = float("-inf")
        self._literal = _is_address(target.host)
        self._resolving = False
        self._waiters: list[Callable[[list[Address]], None]] = []

    def get(self, callback: Callable[[list[Address]], None]) -> None:
        """Call `callback` with the addresses, best first: at once if they are cached; [] if there are none."""
        age = self._loop.now - self._resolved_at
        if self._addresses and (self._literal or age < MAX_AGE):
            if age >= REFRESH_AFTER and not self._literal:
                self._start_lookup()
            callback(self._addresses)
            return
        self._waiters.append(callback)
        self._start_lookup()

    def connected(self, address: Address) -> None:
        """Move an address that took a connection to the front."""
        if self._addresses and self._addresses[0] != address:
            self._addresses.sort(key=lambda known: known != address)

    def invalidate(self) -> None:
        """Have the next `get` resolve again, because no address took a connection."""
        self._resolved_at = float("-inf")

    def _start_lookup(self) -> None:
        if not self._resolving:
            self._resolving = True
            threading.Thread(target=self._resolve, name=f"resolve {self._target.host}", daemon=True).start()

    def _resolve(self) -> None:
        try:
            found = self._lookup(self._target.host, self._target.port)
        except OSError:
            found = []
        self._loop.post(lambda: self._resolved(found))

    def _resolved(self, found: list[Address]) -> None:
        self._resolving = False
        now = time.monotonic()
        if found or now - self._resolved_at >= MAX_AGE:  # a failed lookup does not discard addresses that work
            best = self._addresses[0] if self._addresses else None
            self._addresses = sorted(found, key=lambda known: known != best)
            self._resolved_at = now
        waiters, self._waiters = self._waiters, []
        for callback in waiters:
            callback(self._addresses)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
