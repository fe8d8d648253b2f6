"""What the attempts to connect said, turned into one fault: refused, no answer, no route, or forbidden here.

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

    from ioconnect.config.configuration import HostPort

SHOWN_AT_MOST = 4  # addresses of one kind in a message


class Role(str, Enum):
    """Whom a dial is for; messages name it."""

    JUMPHOST = "jumphost"
    PROXY = "proxy"


class Refused(Unreachable):
    """A machine answered and said no (RST): nothing listens, or a firewall rejects."""


class NoAnswer(Unreachable):
    """Silence until the deadline: mostly a firewall that drops."""


class NoRoute(Unreachable):
    """The network, here or on the way, knows no way there."""


class ForbiddenHere(Unreachable):
    """This machine's own firewall or security policy does not let us out."""


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

# The kind that says most about the cause comes first: a dual-stack name without IPv6 here is never "no route" only
# because one of its addresses is.
_TELLING = (Refused, ForbiddenHere, NoAnswer, NoRoute)

_WORDS: dict[type[Unreachable], str] = {
    Refused: "refused by {addresses}",
    ForbiddenHere: "not permitted on this machine ({addresses})",
    NoAnswer: "no answer from {addresses} within {time}",
    NoRoute: "no route to {addresses}",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """One attempt: the address in print, and the errno (ETIMEDOUT also for our own deadline) with its text."""

    address: str
    errno: int
    text: str = ""


def allow_request(host: HostPort) -> str:
    """Return the sentence for the network team, ready to paste."""
    return f'"Please allow outgoing TCP connections from this machine to {host.host}, port {host.port}."'


def unreachable(host: HostPort, failures: Sequence[Failure], *, role: Role, seconds: float) -> Unreachable:
    """Return the fault for a host none of whose addresses could be connected within `seconds`."""
    by_kind: dict[type[Unreachable], list[str]] = {}
    others: list[str] = []
    for failure in failures:
        kind = _KINDS.get(failure.errno)
        if kind is None:
            others.append(f"{failure.address}: {failure.text or failure.errno}")
        else:
            by_kind.setdefault(kind, []).append(failure.address)
    kinds = [kind for kind in _TELLING if kind in by_kind]
    time = f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:.1f} s"
    clauses = [_WORDS[kind].format(addresses=_listed(by_kind[kind]), time=time) for kind in kinds]
    if others:
        clauses.append(_listed(others))
    evidence = "; ".join(clauses) or "no answer"
    verdict = kinds[0] if kinds else Unreachable
    return verdict(f"cannot connect to the {role.value} {host}: {evidence}", hint=_hint(verdict, host, role))


def _listed(items: Sequence[str]) -> str:
    unique = list(dict.fromkeys(items))
    more = len(unique) - SHOWN_AT_MOST
    return ", ".join(unique[:SHOWN_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def _hint(verdict: type[Unreachable], host: HostPort, role: Role) -> str:
    setting = "ssh_port" if role is Role.JUMPHOST else "the port in the proxy's URL"
    if verdict is Refused:
        return (
            f"Something is there, but it takes no connection on port {host.port}: check {setting}; if that is "
            f"right, a firewall on the way rejects it: ask the network team: {allow_request(host)}"
        )
    if verdict is NoAnswer:
        proxy = " If this network has a proxy, set it as proxy = in the configuration."
        return (
            f"A firewall on the way seems to drop the connection. Ask the network team: {allow_request(host)}"
            f"{proxy if role is Role.JUMPHOST else ''}"
        )
    if verdict is NoRoute:
        return "Check this machine's network: its link, its default route, and a VPN if the way leads through one."
    if verdict is ForbiddenHere:
        return "A firewall or a security policy (SELinux, AppArmor) on this machine forbids it: allow it there."
    return "Check this machine's network."
