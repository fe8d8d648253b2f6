"""Reads the agent's status from its lock and its status file; safe in any process, since it only reads."""

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
    """Return the running agent's status; without an agent, the configured tunnels with their last known status.

    An agent runs if the lock is held. Raises StatusDamaged only while one runs: otherwise a damaged file is ignored.
    """
    pid = lock.holder(paths.lock)
    if pid is None:
        return _not_running(paths, configured)
    recorded = snapshots.read(paths.status)
    if recorded is not None and recorded.pid == pid:
        return replace(recorded, running=True)
    # It has just taken the lock: the file, if there is one, is its predecessor's.
    since = _mtime(paths.lock)
    tunnels = tuple(_initial(tunnel, State.CONNECTING, since) for tunnel in configured)
    return Snapshot(running=True, pid=pid or None, version=__version__, started_at=since, tunnels=tunnels)


def _not_running(paths: Paths, configured: Sequence[Tunnel]) -> Snapshot:
    try:
        recorded = snapshots.read(paths.status)
    except StatusDamaged:
        recorded = None
    since = _mtime(paths.config)
    tunnels = [_initial(tunnel, State.STOPPED, since) for tunnel in configured]
    if recorded is not None:
        last_written = _mtime(paths.status)
        known = {tunnel.name: _stopped(tunnel, last_written) for tunnel in recorded.tunnels}
        tunnels = [_with_configured_addresses(tunnel, known.get(tunnel.name)) for tunnel in tunnels] or list(
            known.values()
        )
    return Snapshot(running=False, pid=None, version=__version__, started_at=None, tunnels=tuple(tunnels))


def _initial(tunnel: Tunnel, state: State, since: str) -> TunnelStatus:
    return TunnelStatus(tunnel.name, state, since, None, str(tunnel.jumphost), tunnel.listen_port, str(tunnel.target))


def _with_configured_addresses(configured: TunnelStatus, known: TunnelStatus | None) -> TunnelStatus:
    """Return the tunnel's last status with the addresses of its present configuration."""
    if known is None:
        return configured
    return replace(known, jumphost=configured.jumphost, listen_port=configured.listen_port, target=configured.target)


def _stopped(tunnel: TunnelStatus, last_written: str) -> TunnelStatus:
    """Return the tunnel as stopped; an agent that was killed left another state, which becomes part of the reason."""
    if tunnel.state is State.STOPPED:
        return tunnel
    message = "the agent ended without a word (killed, or the machine went down)"
    if tunnel.reason is not None:
        message += f"; before that: {tunnel.reason.message}"
    code = tunnel.reason.code if tunnel.reason is not None else ReasonCode.CONNECTION_LOST
    return replace(
        tunnel,
        state=State.STOPPED,
        since=last_written,
        reason=Reason(code, message, "Start it: ioconnect up --daemon."),
        next_attempt_at=None,
        rtt_ms=None,
        connections=replace(tunnel.connections, open=0),
    )


def _mtime(path: Path) -> str:
    """Return the file's modification time; the epoch if it cannot be read."""
    try:
        return timestamp(path.stat().st_mtime)
    except OSError:
        return timestamp(0)
