"""Asks the running agent for its status; what its files say counts only if it cannot be asked.

Which process it is, the kernel says: the agent is another account's.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from ioconnect import __version__
from ioconnect.config.paths import is_same
from ioconnect.custody import processes
from ioconnect.errors import AgentNotRunning, Reason, ReasonCode, SystemRefused, TunnelNotStarted
from ioconnect.status import control, disk, hints, lock, snapshots
from ioconnect.status.durations import NEVER
from ioconnect.status.snapshots import Snapshot, State, StatusDamaged, TunnelStatus, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from ioconnect.config.configuration import Tunnel
    from ioconnect.config.paths import Paths


def _none() -> tuple[Tunnel, ...]:
    return ()


def observe(paths: Paths, configured: Callable[[], Sequence[Tunnel]] = _none) -> Snapshot:
    """Return what the running agent answers; without an agent, the configured tunnels with their last known status.

    If the agent runs and does not answer, the snapshot says why (`silence`): it is the last one that the agent wrote,
    without tunnels if there is none. `configured` is called only if no agent runs. Blocks for at most
    `control.TIMEOUT` seconds, and `disk.TIMEOUT` for a disk that hangs. Raises StatusDamaged if the answer is not
    understood, SystemRefused if the lock cannot be read.
    """
    try:
        return ask(paths)
    except AgentNotRunning:
        return _not_running(paths, configured())
    except control.AgentSilent as fault:
        return replace(last_written(paths.status, fault.pid), silence=fault.silence)


def ask(paths: Paths, timeout: float = control.TIMEOUT) -> Snapshot:
    """Return what the running agent answers. Raises as `control.request`, and StatusDamaged."""
    document, account = control.answered(paths, "GET", "/v1/status", timeout=timeout)
    return replace(snapshots.from_json(document), account=account)


def agent_pid(paths: Paths) -> int | None:
    """Return the pid of the agent's process: it holds the lock, else it listens on the control socket.

    By the kernel alone: the account of the agent writes the lock file, and answers what it likes. None if no agent
    runs, 0 if its pid is not known. Blocks as `observe`.
    """
    held = None
    with contextlib.suppress(SystemRefused):
        held = lock.holder(paths.lock)
        if held and lock.is_held_by(paths.lock, held, processes.owner(held)):
            return held
    try:
        peer = control.answering(paths)
    except control.AgentSilent as silent:
        held, peer = held or 0, silent.peer
    if peer is None:
        return None if held is None else 0
    return peer.pid if peer.pid is not None and processes.is_of(peer.pid, peer.uid) else 0


def last_written(file: Path, pid: int | None) -> Snapshot:
    """Return what the running agent with this pid wrote last to the file; without tunnels if it wrote nothing."""
    recorded = _recorded(file)
    if recorded is None or recorded.pid != pid:  # its predecessor's
        return Snapshot(running=True, pid=pid, version=__version__, started_at=None, tunnels=())
    return replace(recorded, running=True)


def stopped(configured: Iterable[Tunnel], snapshot: Snapshot, config: Path) -> dict[str, TunnelStatus]:
    """Return the tunnels of the configuration `config` as a running agent that does not have them, by name."""
    since = snapshot.written_at or NEVER
    found = (_initial(tunnel, since) for tunnel in configured)
    if not snapshot.running:
        return {tunnel.name: tunnel for tunnel in found}
    return {
        tunnel.name: replace(tunnel, reason=_not_in(snapshot, config, tunnel.name)) if tunnel.enabled else tunnel
        for tunnel in found
    }


def _not_in(snapshot: Snapshot, config: Path, name: str) -> Reason:
    """Return why the running agent does not have this tunnel of the configuration `config`, and what starts it."""
    message = "the running agent does not have this tunnel"
    hint = f"ioconnect up {name} starts it in the running agent."
    if has_other_config(snapshot, config):
        message += f": it runs with {snapshot.config}, not with {config}"
        hint = hints.OTHER_CONFIG
    return Reason(ReasonCode.CONFIG_INVALID, message, hint)


def ended(snapshot: Snapshot, now: float) -> Snapshot:
    """Return what an agent of which this was known does once it was ended on purpose."""
    tunnels = (
        _after_the_end(tunnel, timestamp(now))
        if tunnel.state is State.STOPPED
        else _stopped_at(timestamp(now), tunnel, _no_agent())
        for tunnel in snapshot.tunnels
    )
    return Snapshot(running=False, pid=None, version=snapshot.version, started_at=None, tunnels=tuple(tunnels))


def has_other_config(snapshot: Snapshot, config: Path) -> bool:
    """Say whether the agent runs with another configuration than `config`."""
    return snapshot.running and snapshot.config is not None and not is_same(snapshot.config, config)


def _recorded(file: Path) -> Snapshot | None:
    """Return what is in the file, and when it was written; None if that cannot be read, or not in time."""
    try:
        return disk.within_timeout(file, lambda: _read(file))
    except (StatusDamaged, disk.DiskHangs):
        return None


def _read(file: Path) -> Snapshot | None:
    recorded = snapshots.read(file)
    return recorded and replace(recorded, written_at=recorded.written_at or _mtime(file))


def _not_running(paths: Paths, configured: Sequence[Tunnel]) -> Snapshot:
    recorded = _recorded(paths.status)
    tunnels = [_initial(tunnel, NEVER) for tunnel in configured]
    if recorded is not None:
        known = {tunnel.name: _after_the_end(tunnel, recorded.written_at or NEVER) for tunnel in recorded.tunnels}
        tunnels = [_with_configured_addresses(tunnel, known.get(tunnel.name)) for tunnel in tunnels] or list(
            known.values()
        )
    return Snapshot(running=False, pid=None, version=__version__, started_at=None, tunnels=tuple(tunnels))


def _initial(tunnel: Tunnel, since: str) -> TunnelStatus:
    return TunnelStatus(
        tunnel.name,
        State.STOPPED,
        since,
        _no_agent() if tunnel.enabled else _disabled(tunnel.name),
        str(tunnel.jumphost),
        tunnel.listen_port,
        str(tunnel.target),
        enabled=tunnel.enabled,
    )


def _no_agent() -> Reason:
    return TunnelNotStarted("no agent is running", hint=hints.sentence(hints.START)).reason


def _disabled(name: str) -> Reason:
    hint = f"Set enabled = true in [tunnels.{name}]; ioconnect reload takes it over."
    return TunnelNotStarted("it is disabled: enabled = false", hint=hint).reason


def _with_configured_addresses(configured: TunnelStatus, known: TunnelStatus | None) -> TunnelStatus:
    """Return the last status with the addresses of the present configuration; only the latter if that is disabled."""
    if known is None or not configured.enabled:
        return configured
    return replace(known, jumphost=configured.jumphost, listen_port=configured.listen_port, target=configured.target)


def _after_the_end(tunnel: TunnelStatus, last_written: str) -> TunnelStatus:
    """Return the tunnel as stopped; an agent that was killed left another state, which becomes part of the reason."""
    if tunnel.state is State.STOPPED:  # by its name: the next agent starts it
        is_by_name = tunnel.reason is not None and tunnel.reason.code is ReasonCode.STOPPED
        return replace(tunnel, reason=_no_agent()) if is_by_name or tunnel.reason is None else tunnel
    message = "the agent ended without a word (killed, or the machine went down)"
    if tunnel.reason is not None:
        message += f"; before that: {tunnel.reason.message}"
    code = tunnel.reason.code if tunnel.reason is not None else ReasonCode.CONNECTION_LOST
    return _stopped_at(last_written, tunnel, Reason(code, message, hints.sentence(hints.START)))


def _stopped_at(time: str, tunnel: TunnelStatus, reason: Reason) -> TunnelStatus:
    return replace(
        tunnel,
        state=State.STOPPED,
        since=time,
        down_since=tunnel.down_since or time,
        reason=reason,
        next_attempt_at=None,
        rtt_ms=None,
        security=None,
        identity=None,
        connections=replace(tunnel.connections, open=0),
    )


def _mtime(path: Path) -> str:
    """Return the file's modification time; NEVER if it cannot be read."""
    try:
        return timestamp(path.stat().st_mtime)
    except OSError:
        return NEVER
