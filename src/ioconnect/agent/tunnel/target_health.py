"""Whether a tunnel's target (the database) accepts connections: what the last of them, or a probe, found.

Pure. A target is unknown until the first connection to it; it is down from a connection that failed until one, or a
probe, succeeds.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ioconnect.config.addresses import SocketPath
from ioconnect.errors import Reason, ReasonCode
from ioconnect.status.records import Availability

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from ioconnect.config.addresses import Target

FIRST_PROBE = 5.0  # seconds after a failure
PROBE_GROWTH = 1.5  # of the wait with each probe that fails
LONGEST_WAIT = 30.0  # seconds between probes


@dataclass(frozen=True, slots=True)
class Outage:
    """An outage of the target that is over: how long it was, in seconds, and how many connections failed."""

    seconds: float
    failed: int


@dataclass(frozen=True, slots=True)
class TargetHealth:
    """`since` is monotonic, `since_wall` in seconds since the epoch; both say when `state` began.

    `failed` counts the connections that failed since the target went down, without probes; `outage` is the last one.
    """

    since: float = 0.0
    since_wall: float = 0.0
    state: Availability = Availability.UNKNOWN
    failed: int = 0
    reason: Reason | None = None
    outage: Outage | None = None


UNKNOWN = TargetHealth()


def answered(health: TargetHealth, now: float, wall: float) -> TargetHealth:
    """Return the health after a connection, or a probe, that succeeded."""
    if health.state is Availability.UP:
        return health
    outage = Outage(now - health.since, health.failed) if health.state is Availability.DOWN else health.outage
    return TargetHealth(now, wall, Availability.UP, outage=outage)


def refused(health: TargetHealth, reason: Reason, now: float, wall: float) -> TargetHealth:
    """Return the health after a connection that failed."""
    if health.state is not Availability.DOWN:
        health = TargetHealth(now, wall, Availability.DOWN, outage=health.outage)
    return replace(health, failed=health.failed + 1, reason=reason)


def probe_refused(health: TargetHealth, reason: Reason) -> TargetHealth:
    """Return the health after a probe that failed: the target stays down, perhaps for another reason."""
    return replace(health, reason=reason) if health.state is Availability.DOWN else health


def probe_delay(failed_probes: int) -> float:
    """Return the seconds until the next probe, after so many that failed since the target went down."""
    return float(min(LONGEST_WAIT, FIRST_PROBE * PROBE_GROWTH ** min(failed_probes, 10)))


def reason_for(target: Target, why: str, codes: AbstractSet[int]) -> Reason:
    """Return the reason for a connect that failed: `why` names each address with its error, `codes` are the errnos.

    Without an errno the name did not resolve.
    """
    if isinstance(target, SocketPath):
        hint = socket_hint(codes)
    elif not codes:
        hint = "Check target = in the configuration for a typing error, and this machine's name servers."
    elif errno.ECONNREFUSED in codes:
        hint = "Is the database running, and is this its port? Start it, or correct target = in the configuration."
    elif codes & {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC}:
        hint = (
            "This machine is out of descriptors or memory for the agent: raise its limits (ulimit -n, LimitNOFILE; "
            "for no space left on device: sysctl fs.epoll.max_user_watches)."
        )
    elif codes & {errno.EPERM, errno.EACCES}:
        hint = "A firewall or a security policy (SELinux, AppArmor) on this machine forbids it: allow it there."
    else:
        hint = f"A firewall drops it, the machine is off, or no route leads there: allow TCP to port {target.port}."
    return Reason(ReasonCode.TARGET_UNREACHABLE, f"cannot connect to {target}: {why}", hint)


def socket_hint(codes: AbstractSet[int]) -> str:
    """Return what to do about a Unix socket that does not take a connection, by the errnos."""
    if codes & {errno.ENOENT, errno.ENOTDIR}:
        return (
            "Is the database running, and is its socket there? SHOW VARIABLES LIKE 'socket' (MySQL, MariaDB) and "
            "SHOW unix_socket_directories (PostgreSQL) say. The system's service sees none in /tmp or a home folder."
        )
    if codes & {errno.EACCES, errno.EPERM}:
        return (
            "The account that runs the agent may not write to the socket or enter a folder on its path: let it "
            "(namei -l PATH shows which), for example by the socket's group."
        )
    if errno.EAGAIN in codes:
        return "The database takes no connections: its queue of new ones stayed full. Is it overloaded or stopped?"
    if errno.EPROTOTYPE in codes:
        return "It is a socket of another type than databases have: correct target = in the configuration."
    return "Nothing listens on it: the file is left over from a database that is down, or is no socket. Start it."
