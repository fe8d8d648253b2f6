"""The status of one tunnel in the running agent: this user's, or the system service's."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from ioconnect.checks.agent_state import is_active, is_settled
from ioconnect.errors import SystemRefused
from ioconnect.installers.installed import machines_agent
from ioconnect.status import lock
from ioconnect.status.control import AgentSilent
from ioconnect.status.observe import observe
from ioconnect.status.snapshots import StatusDamaged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ioconnect.config.paths import Paths
    from ioconnect.status.snapshots import Snapshot, TunnelStatus

TIMEOUT = 8.0  # seconds for a connection attempt of the agent that is in progress
POLL_INTERVAL = 0.25  # seconds


def tunnel_status(name: str, paths: Paths, environ: Mapping[str, str]) -> tuple[TunnelStatus | None, Snapshot | None]:
    """Return the tunnel's status in the running agent, None if it does not run the tunnel; and the agent's.

    Blocks for at most `TIMEOUT` seconds while a connection attempt of the agent is in progress. Raises AgentSilent if
    the agent does not answer: what it wrote last says nothing about now.
    """
    end = time.monotonic() + TIMEOUT
    while True:
        snapshot = _snapshot(paths, environ)
        if snapshot is not None and snapshot.silence is not None:
            raise AgentSilent(snapshot.pid, snapshot.silence)
        tunnel = next((one for one in snapshot.tunnels if one.name == name), None) if snapshot else None
        if snapshot is None or tunnel is None or not is_active(tunnel):
            return None, snapshot
        if is_settled(tunnel) or time.monotonic() > end:
            return tunnel, snapshot
        time.sleep(POLL_INTERVAL)


def account(snapshot: Snapshot | None, paths: Paths) -> int | None:
    """Return the uid of the agent that runs, None if it cannot be told; never by what that account says itself.

    It is who answered, else the owner of the lock. `snapshot` is None for an agent that does not answer.
    """
    if snapshot is None or (snapshot.running and snapshot.account is None):
        return lock.owner(paths.lock)
    return snapshot.account


def system_service_hint(paths: Paths, environ: Mapping[str, str]) -> str:
    """Return a hint for a user without a configuration beside a running system service; "" if none runs."""
    system = machines_agent(paths, environ)
    return f"There is {system.description}, with a configuration of its own: sudo ioconnect test." if system else ""


def _snapshot(paths: Paths, environ: Mapping[str, str]) -> Snapshot | None:
    with contextlib.suppress(SystemRefused, StatusDamaged):
        snapshot = observe(paths)
        if snapshot.running:
            return snapshot
    system = machines_agent(paths, environ)
    return system.snapshot if system is not None else None
