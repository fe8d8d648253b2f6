"""The database's addresses: resolved off the loop, and the one that answered last is tried first.

The loop must never wait for a resolver, so names are resolved on a thread of their own, and an answer that is a few
seconds old serves while a new one is on its way. Everything but that thread belongs to the loop's thread.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from ioconnect.config.configuration import HostPort
    from ioconnect.ssh.loop import Loop

Address: TypeAlias = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]

FRESH = 5.0  # seconds; a database that fails over by name is found again this soon
USABLE = 60.0  # seconds for which an older answer still serves while it is being renewed


def system_lookup(host: str, port: int) -> list[Address]:
    """Ask getaddrinfo(3), in its order. Blocks; raises gaierror."""
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, where) for family, _, _, _, where in answers]  # type: ignore[misc]  # two shapes, by family


class TargetAddresses:
    """Where the target can be reached; `lookup` blocks, and raises OSError for a name that is none."""

    def __init__(
        self, target: HostPort, loop: Loop, lookup: Callable[[str, int], list[Address]] | None = None
    ) -> None:
        self._target = target
        self._loop = loop
        self._lookup = lookup or system_lookup
        self._addresses: list[Address] = []
        self._resolved_at = float("-inf")
        self._literal = _is_address(target.host)
        self._asking = False
        self._waiting: list[Callable[[list[Address]], None]] = []

    def get(self, answer: Callable[[list[Address]], None]) -> None:
        """Call `answer` with the addresses, best first, at once if known; [] if there are none."""
        age = self._loop.now - self._resolved_at
        if self._addresses and (self._literal or age < USABLE):
            if age >= FRESH and not self._literal:
                self._ask()
            answer(self._addresses)
            return
        self._waiting.append(answer)
        self._ask()

    def answered(self, address: Address) -> None:
        """Remember that this one took a connection."""
        if self._addresses and self._addresses[0] != address:
            self._addresses.sort(key=lambda known: known != address)

    def distrust(self) -> None:
        """No address took a connection: ask the resolver again before the next one."""
        self._resolved_at = float("-inf")

    def _ask(self) -> None:
        if not self._asking:
            self._asking = True
            threading.Thread(target=self._resolve, name=f"resolve {self._target.host}", daemon=True).start()

    def _resolve(self) -> None:
        try:
            found = self._lookup(self._target.host, self._target.port)
        except OSError:
            found = []
        self._loop.post(lambda: self._resolved(found))

    def _resolved(self, found: list[Address]) -> None:
        self._asking = False
        now = time.monotonic()
        if found or now - self._resolved_at >= USABLE:  # a resolver in trouble takes no address away that works
            best = self._addresses[0] if self._addresses else None
            self._addresses = sorted(found, key=lambda known: known != best)
            self._resolved_at = now
        waiting, self._waiting = self._waiting, []
        for answer in waiting:
            answer(self._addresses)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
