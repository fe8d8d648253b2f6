"""The routes that the tunnels' connections take, and which of them a change of the network concerns.

Pure. On a machine with containers or with a routing daemon the network changes all the time; a tunnel is concerned
only by what its own connection depends on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

INTERNET = ("198.41.0.4", "2001:503:ba3e::2:30")
"""a.root-servers.net: its route is the one of an address that is not known yet. Nothing is sent there."""


@dataclass(frozen=True, slots=True)
class Route:
    """How the kernel would send to an address now.

    `interface` is an index, None where the system does not say; `is_up` with a carrier; `is_hardware`: no bridge, VPN
    or the like, which depends on another interface.
    """

    source: str
    gateway: str = ""
    interface: int | None = None
    is_up: bool = True
    is_hardware: bool = True


@dataclass(frozen=True, slots=True)
class NetworkChanged:
    """Something about the network changed: addresses, routes, or these links, by their indices.

    `hardware`: one of the links is an interface of its own. `resolver`: the name servers are others.
    """

    links: frozenset[int] = frozenset()
    hardware: bool = False
    resolver: bool = False


FindRoute: TypeAlias = "Callable[[str], Route | None]"  # None: there is no route. Raises OSError.


class RoutesInUse:
    """The routes to some addresses as they were when last looked at; one thread."""

    def __init__(self, find: FindRoute) -> None:
        """`find` returns at once."""
        self._find = find
        self._known: dict[str, Route | None] = {}

    def note(self, addresses: Iterable[str]) -> None:
        """Take note of the routes to these addresses; of one that is known already it is the earlier that counts."""
        for address in addresses:
            if address not in self._known:
                self._look(address)

    def concerned(self, addresses: Iterable[str], change: NetworkChanged) -> set[str]:
        """Return those of these addresses whose routes the change concerns; the others are forgotten."""
        before, self._known = self._known, {}
        for address in set(addresses):
            if not self._look(address) and address in before:
                self._known[address] = before[address]
        return {
            address
            for address, route in self._known.items()
            if (address in before and before[address] != route) or _depends(route, change)
        }

    def _look(self, address: str) -> bool:
        try:
            self._known[address] = self._find(address)
        except OSError:  # too many open files: ask again at the next change
            return False
        return True


def _depends(route: Route | None, change: NetworkChanged) -> bool:
    """Whether one of the links that changed carries this route: also one that went down and came back meanwhile."""
    if route is None:
        return False
    if route.interface is None:
        return bool(change.links)
    return route.interface in change.links or (change.hardware and not route.is_hardware)
