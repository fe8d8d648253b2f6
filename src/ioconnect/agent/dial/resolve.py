"""DNS lookups by the system's resolver, with a deadline.

getaddrinfo(3) cannot be interrupted, so it runs in a daemon thread that may outlive the call. Callers that ask for
the same name at about the same time share one lookup: a resolver that hangs costs a few threads, not one an attempt.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ioconnect.agent.dial.connect_failures import Role
from ioconnect.errors import NameNotResolved
from ioconnect.escape import escaped

if TYPE_CHECKING:
    from ioconnect.agent.dial.deadline import Deadline
    from ioconnect.config.addresses import HostPort

SHARE_FOR = 5.0  # seconds; the timeout of resolv.conf(5): an older lookup may wait for a name server that is gone
MAX_LOOKUPS = 8  # of one name at once


@dataclass(frozen=True, slots=True)
class Address:
    """One address to connect to, as getaddrinfo(3) returns it."""

    family: int
    sockaddr: tuple[Any, ...]

    def __str__(self) -> str:
        """Return the address without the port."""
        return str(self.sockaddr[0])


LookupFunction = Callable[[str, int], Sequence[Address]]


def system_lookup(host: str, port: int, flags: int = 0) -> list[Address]:
    """Return the addresses in getaddrinfo(3)'s order (RFC 6724). Blocks; raises gaierror, UnicodeError."""
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [Address(family, sockaddr) for family, _, _, _, sockaddr in answers]


@dataclass(slots=True)
class _Lookup:
    """One lookup in progress; closing its `waiters` tells their other ends that `result` is set."""

    started_at: float
    waiters: list[socket.socket] = field(default_factory=list)
    result: Sequence[Address] | Exception | None = None


class Resolver:
    """The lookups in progress, shared by name. Any thread may call."""

    def __init__(self, lookup: LookupFunction = system_lookup) -> None:
        self._lookup = lookup
        self._lock = threading.Lock()
        self._in_progress: dict[HostPort, list[_Lookup]] = {}

    def resolve(self, host: HostPort, deadline: Deadline, *, role: Role = Role.JUMPHOST) -> Sequence[Address]:
        """Return the addresses of `host`, at least one. Nothing is cached, only a lookup in progress is shared.

        Raises NameNotResolved, also at the deadline; DialCancelled.
        """
        try:
            return system_lookup(host.host, host.port, socket.AI_NUMERICHOST)
        except (socket.gaierror, ValueError):
            pass  # not a literal address
        done, waiter = socket.socketpair()
        with done:
            lookup = self._join(host, waiter)
            try:
                deadline.wait({done: selectors.EVENT_READ})
            except TimeoutError:
                raise _timed_out(host, role) from None
            finally:
                with self._lock:
                    lookup.waiters = [other for other in lookup.waiters if other is not waiter]
                    waiter.close()
        result = lookup.result
        if isinstance(result, Exception):
            raise _not_resolved(host, role, result) from result
        if not result:
            raise _not_resolved(host, role, socket.gaierror(socket.EAI_NONAME, "no address"))
        return result

    def _join(self, host: HostPort, waiter: socket.socket) -> _Lookup:
        """Join the latest lookup of this name, or start one."""
        now = time.monotonic()
        with self._lock:
            lookups = self._in_progress.setdefault(host, [])
            full = len(lookups) >= MAX_LOOKUPS
            if lookups and (full or now - lookups[-1].started_at < SHARE_FOR):
                lookups[-1].waiters.append(waiter)
                return lookups[-1]
            lookup = _Lookup(now, [waiter])
            threading.Thread(target=self._run, args=(host, lookup), name="resolver", daemon=True).start()
            lookups.append(lookup)
            return lookup

    def _run(self, host: HostPort, lookup: _Lookup) -> None:
        result: Sequence[Address] | Exception
        try:
            result = self._lookup(host.host, host.port)
        except Exception as error:  # noqa: BLE001  raised again in the callers' threads
            result = error
        with self._lock:
            others = [other for other in self._in_progress[host] if other is not lookup]
            if others:
                self._in_progress[host] = others
            else:
                del self._in_progress[host]
            lookup.result = result
            for waiter in lookup.waiters:
                waiter.close()


def _timed_out(host: HostPort, role: Role) -> NameNotResolved:
    return NameNotResolved(
        f"the {role.value}'s name {escaped(host.host)} could not be resolved: the resolver did not answer in time",
        hint="Check this machine's network and its name servers (/etc/resolv.conf).",
    )


def _not_resolved(host: HostPort, role: Role, error: Exception) -> NameNotResolved:
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
        return NameNotResolved(
            f"the {role.value}'s name {escaped(host.host)} could not be resolved: no name server answered",
            hint="Check this machine's network and its name servers (/etc/resolv.conf).",
        )
    cause = error.strerror if isinstance(error, OSError) else str(error)
    where = "the endpoint in the configuration" if role is Role.JUMPHOST else "the proxy's URL"
    return NameNotResolved(
        f"the {role.value}'s name {escaped(host.host)} does not resolve: {cause}",
        hint=f"Check {where} for a typing error; if it is right, this machine's name servers don't know the name.",
    )
