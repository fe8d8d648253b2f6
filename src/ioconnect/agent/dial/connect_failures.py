"""The failures of all attempts to connect, turned into one fault: refused, no answer, no route, or not permitted.

Pure.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from ioconnect.errors import Unreachable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ioconnect.config.addresses import HostPort

MAX_SHOWN = 4  # addresses of one kind in a message


class Role(str, Enum):
    """Which host is dialed; messages name it."""

    JUMPHOST = "jumphost"
    PROXY = "proxy"


class Refused(Unreachable):
    """The host answered with a RST: nothing listens, or a firewall rejects."""


class NoAnswer(Unreachable):
    """No answer before the deadline: usually a firewall that drops."""


class NoRoute(Unreachable):
    """No route to the host, here or at a router."""


class ForbiddenHere(Unreachable):
    """A firewall or security policy of this machine does not permit the connection."""


_KINDS: dict[int, type[Unreachable]] = {
    errno.ECONNREFUSED: Refused,
    errno.ECONNRESET: Refused,
    errno.ETIMEDOUT: NoAnswer,
    errno.ENETUNREACH: NoRoute,
    errno.EHOSTUNREACH: NoRoute,
    errno.ENETDOWN: NoRoute,
    errno.EHOSTDOWN: NoRoute,
    errno.EADDRNOTAVAIL: NoRoute,
    errno.EAFNOSUPPORT: NoRoute,
    errno.EPERM: ForbiddenHere,
    errno.EACCES: ForbiddenHere,
}

# Which failure names the fault when addresses fail in different ways: a dual-stack name on a machine without IPv6
# must not count as "no route".
_PRIORITY = (Refused, ForbiddenHere, NoAnswer, NoRoute)

_TEXTS: dict[type[Unreachable], str] = {
    Refused: "refused by {addresses}",
    ForbiddenHere: "not permitted on this machine ({addresses})",
    NoAnswer: "no answer from {addresses} within {time}",
    NoRoute: "no route to {addresses}",
}


@dataclass(frozen=True, slots=True)
class ConnectFailure:
    """A failed attempt: its address, and the errno (ETIMEDOUT also for our own deadline) with its text."""

    address: str
    errno: int
    text: str = ""


def allow_request(host: HostPort) -> str:
    """Return the request to the network team as text to paste."""
    return f'"Please allow outgoing TCP connections from this machine to {host.host}, port {host.port}."'


def unreachable(host: HostPort, failures: Sequence[ConnectFailure], *, role: Role, seconds: float) -> Unreachable:
    """Return the fault of a host none of whose addresses could be connected within `seconds`."""
    by_kind: dict[type[Unreachable], list[str]] = {}
    others: list[str] = []
    for failure in failures:
        kind = _KINDS.get(failure.errno)
        if kind is None:
            others.append(f"{failure.address}: {failure.text or failure.errno}")
        else:
            by_kind.setdefault(kind, []).append(failure.address)
    kinds = [kind for kind in _PRIORITY if kind in by_kind]
    time = f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:.1f} s"
    clauses = [_TEXTS[kind].format(addresses=_listed(by_kind[kind]), time=time) for kind in kinds]
    if others:
        clauses.append(_listed(others))
    details = "; ".join(clauses) or "no answer"
    fault = kinds[0] if kinds else Unreachable
    return fault(f"cannot connect to the {role.value} {host}: {details}", hint=_hint(fault, host, role))


def cannot_bind(host: HostPort, bind_address: str, *, role: Role, is_absent: bool = False) -> Unreachable:
    """Return the fault of a `bind_address` that is not of this machine, or of no family of the host's addresses."""
    return Unreachable(
        f"cannot connect to the {role.value} {host} from {bind_address} (bind_address): "
        + ("this machine has no such address" if is_absent else "the host has no address of that kind"),
        hint="Correct bind_address in the configuration, or take it out: then the route decides. If a VPN brings the "
        "address, nothing: the tunnel is tried again when it is there.",
    )


def _listed(items: Sequence[str]) -> str:
    unique = list(dict.fromkeys(items))
    more = len(unique) - MAX_SHOWN
    return ", ".join(unique[:MAX_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _hint(kind: type[Unreachable], host: HostPort, role: Role) -> str:
    setting = "ssh_port" if role is Role.JUMPHOST else "the port in the proxy's URL"
    if kind is Refused:
        return (
            f"Something is there, but it takes no connection on port {host.port}: check {setting}; if that is "
            f"right, a firewall on the way rejects it: ask the network team: {allow_request(host)}"
        )
    if kind is NoAnswer:
        proxy = " If this network has a proxy, set it as proxy = in the configuration."
        return (
            f"A firewall on the way seems to drop the connection. Ask the network team: {allow_request(host)}"
            f"{proxy if role is Role.JUMPHOST else ''}"
        )
    if kind is NoRoute:
        return "Check this machine's network: its link, its default route, and a VPN if the way leads through one."
    if kind is ForbiddenHere:
        return "A firewall or a security policy (SELinux, AppArmor) on this machine forbids it: allow it there."
    return "Check this machine's network."
