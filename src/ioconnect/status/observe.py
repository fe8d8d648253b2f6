"""What the agent does now, as its lock and its status file tell; without an agent, what is configured and last known.

Safe in any process, beside a running agent: it only reads.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ioconnect import __version__
from ioconnect.errors import Reason, ReasonCode
from ioconnect.status import lock, snapshots
from ioconnect.status.snapshots import Snapshot, State, StatusDamaged, TunnelStatus, timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ioconnect.config.configuration import Tunnel
    from ioconnect.config.paths import Paths


def observe(paths: Paths, configured: Sequence[Tunnel] = ()) -> Snapshot:
    """Return what the agent does now or, if none runs, what is configured and what was last known about it.

    Whether one runs is told by its lock. Raises StatusDamaged only while one does: without an agent a damaged file
    merely has no memory to offer.
    """
    pid = lock.holder(paths.lock)
    if pid is None:
        return _at_rest(paths, configured)
    recorded = snapshots.read(paths.status)
    if recorded is not None and recorded.pid == pid:
        return replace(recorded, running=True)
    # It has only just taken the lock: what the file tells, if anything, is about its predecessor.
    since = _modified(paths.lock)
    tunnels = tuple(_without_memory(tunnel, State.CONNECTING, since) for tunnel in configured)
    return Snapshot(running=True, pid=pid or None, version=__version__, started_at=since, tunnels=tunnels)


def _at_rest(paths: Paths, configured: Sequence[Tunnel]) -> Snapshot:
    try:
        recorded = snapshots.read(paths.status)
    except StatusDamaged:
        recorded = None
    since = _modified(paths.config)
    tunnels = [_without_memory(tunnel, State.STOPPED, since) for tunnel in configured]
    if recorded is not None:
        last_sign = _modified(paths.status)
        known = {tunnel.name: _stopped(tunnel, last_sign) for tunnel in recorded.tunnels}
        tunnels = [_remembered(tunnel, known.get(tunnel.name)) for tunnel in tunnels] or list(known.values())
    return Snapshot(running=False, pid=None, version=__version__, started_at=None, tunnels=tuple(tunnels))


def _without_memory(tunnel: Tunnel, state: State, since: str) -> TunnelStatus:
    return TunnelStatus(tunnel.name, state, since, None, str(tunnel.jumphost), tunnel.listen_port, str(tunnel.target))


def _remembered(configured: TunnelStatus, known: TunnelStatus | None) -> TunnelStatus:
    """Return what is known about the tunnel, with the addresses that its configuration has now."""
    if known is None:
        return configured
    return replace(known, jumphost=configured.jumphost, listen_port=configured.listen_port, target=configured.target)


def _stopped(tunnel: TunnelStatus, last_sign: str) -> TunnelStatus:
    """Return the tunnel as its agent left it; an agent that left without a word leaves the reason open."""
    if tunnel.state is State.STOPPED:
        return tunnel
    message = "the agent ended without a word (killed, or the machine went down)"
    if tunnel.reason is not None:
        message += f"; before that: {tunnel.reason.message}"
    code = tunnel.reason.code if tunnel.reason is not None else ReasonCode.CONNECTION_LOST
    return replace(
        tunnel,
        state=State.STOPPED,
        since=last_sign,
        reason=Reason(code, message, "Start it: ioconnect up --daemon."),
        next_attempt_at=None,
        rtt_ms=None,
        connections=replace(tunnel.connections, open=0),
    )


def _modified(path: Path) -> str:
    """Return when the file was last written; the epoch if it cannot be told."""
    try:
        return timestamp(path.stat().st_mtime)
    except OSError:
        return timestamp(0)
