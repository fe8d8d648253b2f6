"""Connects to the target by TCP and explains a failure: name not resolved, refused, timed out, no route.

Blocks the calling thread until the given deadline at most (a time.monotonic()).
"""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from typing import TYPE_CHECKING

from ioconnect.agent.dial.deadline import Deadline
from ioconnect.agent.dial.happy_eyeballs import AllAttemptsFailed, connect_first, interleaved
from ioconnect.agent.dial.resolve import Address, Resolver, system_lookup
from ioconnect.config.addresses import HostPort, is_loopback
from ioconnect.errors import NameNotResolved, TargetUnreachable
from ioconnect.escape import escaped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ioconnect.agent.dial.connect_failures import ConnectFailure

RESOLVE_TIMEOUT = 2.5  # seconds
CONNECT_TIMEOUT = 3.0  # seconds for all addresses: a database is near
LOCAL_TIMEOUT = 0.5  # seconds for each other address of this machine
_DOCUMENTATION = ("192.0.2.1", "2001:db8::1")  # RFC 5737, RFC 3849: unassigned; nothing is sent there
_TIMED_OUT = frozenset({errno.ETIMEDOUT})
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL})
_FORBIDDEN = frozenset({errno.EPERM, errno.EACCES})


def connect(target: HostPort, deadline: float) -> tuple[socket.socket, Address]:
    """Return a blocking socket connected to the target, and its remote address. Raises TargetUnreachable."""
    addresses = _resolved(target, min(deadline, time.monotonic() + RESOLVE_TIMEOUT))
    began = time.monotonic()
    try:
        sock = connect_first(interleaved(addresses), Deadline(min(deadline, began + CONNECT_TIMEOUT)))
    except AllAttemptsFailed as none:
        raise _unreachable(target, none.failures, time.monotonic() - began) from None
    sock.setblocking(True)
    return sock, Address(sock.family, sock.getpeername())


def _resolved(target: HostPort, deadline: float) -> Sequence[Address]:
    try:
        return Resolver().resolve(target, Deadline(deadline))
    except NameNotResolved as fault:
        why = "the resolver did not answer in time" if fault.__cause__ is None else escaped(str(fault.__cause__))
        raise TargetUnreachable(
            f"the database's name {escaped(target.host)} does not resolve here: {why}",
            hint="Check target = in the configuration for a typing error, and this machine's name servers.",
        ) from None


def _unreachable(target: HostPort, failures: Sequence[ConnectFailure], seconds: float) -> TargetUnreachable:
    codes = {failure.errno for failure in failures}
    where = ", ".join(dict.fromkeys(failure.address for failure in failures))
    if errno.ECONNREFUSED in codes:
        return _nothing_listens(target, [failure.address for failure in failures], where)
    if codes & _TIMED_OUT:
        return TargetUnreachable(
            f"no answer from the database at {target} ({where}) within {seconds:.0f} s: "
            "filtered, or the machine is off",
            hint=f"A firewall or security group drops it: allow TCP from this machine to port {target.port} there; "
            "or the address is not the database's.",
        )
    if codes & _NO_ROUTE:
        return TargetUnreachable(
            f"no route from this machine to the database at {target} ({where})",
            hint="Check target = in the configuration, this machine's routes, and a VPN if one leads there.",
        )
    texts = "; ".join(dict.fromkeys(f"{failure.address}: {failure.text}" for failure in failures))
    return TargetUnreachable(
        f"cannot connect to the database at {target}: {texts}",
        hint="A firewall or a security policy (SELinux, AppArmor) on this machine forbids it: allow it there."
        if codes & _FORBIDDEN
        else "Check this machine's network.",
    )


def _nothing_listens(target: HostPort, tried: list[str], where: str) -> TargetUnreachable:
    """Return the fault for a refused connection; names other local addresses where this port is open."""
    local = all(is_local(address) for address in tried)
    elsewhere = [str(HostPort(other, target.port)) for other in _local_addresses(tried)] if local else []
    open_at = [other for other in elsewhere if _is_open(other)]
    if open_at:
        return TargetUnreachable(
            f"nothing listens on {target} (refused by {where}): on this port something listens on "
            f"{' and '.join(open_at)} only",
            hint=f'If that is the database, set target = "{open_at[0]}" for this tunnel, or let the database listen '
            f"on {where} too.",
        )
    advice = (
        "Start it, or correct target = in the configuration."
        if local
        else "Its bind-address or listen_addresses may leave that address out, or a firewall there rejects it."
    )
    return TargetUnreachable(
        f"nothing listens on {target} (refused by {where})",
        hint=f"Is the database running, and is this its port? {advice}",
    )


def _is_open(where: str) -> bool:
    host, _, port = where.rpartition(":")
    deadline = time.monotonic() + LOCAL_TIMEOUT
    with contextlib.suppress(AllAttemptsFailed, OSError):
        connect_first(system_lookup(host.strip("[]"), int(port)), Deadline(deadline)).close()
        return True
    return False


def is_local(address: str) -> bool:
    """Say whether the address is a local address."""
    if is_loopback(address):
        return True
    with contextlib.suppress(OSError):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
            return True
    return False


def _local_addresses(tried: list[str]) -> list[str]:
    """Return the loopback addresses and the source addresses of the default routes, without those already tried."""
    found = ["127.0.0.1", "::1"]
    for remote in _DOCUMENTATION:
        family = socket.AF_INET6 if ":" in remote else socket.AF_INET
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((remote, 9))  # UDP: selects the source address, sends nothing
            found.append(str(probe.getsockname()[0]))
    return [address for address in dict.fromkeys(found) if address not in tried]
