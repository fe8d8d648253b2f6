"""The target's addresses, in the order in which to try them.

The one that took the last connection is first, those that did not answer are last; families are interleaved (RFC 8305
§4).

getaddrinfo(3) blocks, so a name is resolved on a thread of its own, and an answer that is a few seconds old is used
while a new lookup runs. Only an answer that the name does not exist takes addresses away; a resolver that fails, or
hangs, leaves the old ones in use. Everything but the lookup belongs to the loop's thread.
"""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

from ioconnect.agent.dial.happy_eyeballs import interleaved
from ioconnect.agent.dial.resolve import Address, system_lookup
from ioconnect.config.addresses import SocketPath

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from ioconnect.agent.dial.resolve import LookupFunction
    from ioconnect.config.addresses import HostPort, Target
    from ioconnect.ssh.loop import Loop

REFRESH_AFTER = 5.0  # seconds; how soon a database that fails over by DNS is found again
MAX_AGE = 60.0  # seconds for which an older answer is still used while it is refreshed
FOREVER = float("inf")
_NO_SUCH_NAME = {
    getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY") if hasattr(socket, name)
}


class TargetAddresses:
    """A cache of the target's addresses; `lookup` blocks, and raises OSError for a name that does not resolve.

    `known` are the addresses, however old; `problem` is what the resolver said last, empty if it answered. `silent`
    are those that did not answer, kept from session to session.
    """

    def __init__(
        self,
        target: Target,
        loop: Loop,
        lookup: LookupFunction = system_lookup,
        *,
        silent: set[Hashable] | None = None,
    ) -> None:
        self.known: Sequence[Address] = []
        self.problem = ""
        self._target = target
        self._loop = loop
        self._lookup = lookup
        self._silent = set() if silent is None else silent
        self._resolved_at = -FOREVER
        self._resolving = False
        self._waiters: list[Callable[[Sequence[Address]], None]] = []

    def get(self, callback: Callable[[Sequence[Address]], None]) -> None:
        """Call `callback` with the addresses, best first: at once if they are cached or need no lookup."""
        age = self._loop.now - self._resolved_at
        if (not self.known or age >= MAX_AGE) and not self._is_numeric():
            self._waiters.append(callback)
            self._start_lookup()
            return
        if self._loop.now - self._resolved_at >= REFRESH_AFTER:
            self._start_lookup()
        callback(self.known)

    def keep(self) -> Sequence[Address]:
        """Use the addresses that are known a while longer, because the resolver gives no others; return them."""
        self._resolved_at = max(self._resolved_at, self._loop.now - REFRESH_AFTER)
        return self.known

    def connected(self, address: Address) -> None:
        """Move an address that took a connection to the front."""
        self._silent.discard(address)
        if self.known and self.known[0] is not address:
            self.known = self._ordered(self.known, address)

    def silent(self, address: Address) -> None:
        """Move an address that did not answer to the end, where it stays until it takes a connection."""
        self._silent.add(address)
        self.known = self._ordered(self.known, None)

    def invalidate(self) -> None:
        """Have the next `get` resolve again, because no address took a connection."""
        self._resolved_at = -FOREVER

    def _is_numeric(self) -> bool:
        """Take the address if the target is one, or a socket; of a zone (`fe80::1%eth0`) anew after each failure."""
        if isinstance(self._target, SocketPath):
            found = [Address(socket.AF_UNIX, (self._target.path,))]
        else:
            try:
                found = system_lookup(self._target.host, self._target.port, socket.AI_NUMERICHOST)
            except (OSError, UnicodeError):
                return False
        self._take(found, FOREVER)
        return True

    def _start_lookup(self) -> None:
        if self._resolving or isinstance(self._target, SocketPath):
            return
        self._resolving = True
        name = self._target
        try:
            threading.Thread(target=self._resolve, args=(name,), name=f"resolve {name.host}", daemon=True).start()
        except RuntimeError as error:  # no thread is to be had
            no_thread = error
            self._loop.post(lambda: self._resolved([], no_thread))

    def _resolve(self, name: HostPort) -> None:
        found: Sequence[Address] = []
        problem: Exception | None = None
        try:
            found = self._lookup(name.host, name.port)
        except Exception as error:  # noqa: BLE001  told by the loop's thread
            problem = error
        self._loop.post(lambda: self._resolved(found, problem))

    def _resolved(self, found: Sequence[Address], problem: Exception | None) -> None:
        self._resolving = False
        self.problem = "" if found else getattr(problem, "strerror", None) or str(problem or "no address")
        is_gone = (
            problem is None or isinstance(problem, UnicodeError) or getattr(problem, "errno", 0) in _NO_SUCH_NAME
        )
        if found or (is_gone and self._loop.now - self._resolved_at >= MAX_AGE):
            self._take(found, self._loop.now)
        elif not is_gone:
            self.keep()
        waiters, self._waiters = self._waiters, []
        for callback in waiters:
            callback(self.known)

    def _take(self, found: Sequence[Address], resolved_at: float) -> None:
        self._silent.intersection_update(found)
        self.known = self._ordered(found, self.known[0] if self.known else None)
        self._resolved_at = resolved_at

    def _ordered(self, addresses: Sequence[Address], best: Address | None) -> list[Address]:
        in_turn = interleaved(sorted(addresses, key=lambda address: address != best))
        return sorted(in_turn, key=self._silent.__contains__)
