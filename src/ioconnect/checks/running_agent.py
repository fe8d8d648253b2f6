"""The agent that runs for these paths, if one does, and what it says of one tunnel."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from ioconnect.checks.agent_state import has_it, is_settled
from ioconnect.errors import SystemRefused
from ioconnect.installers.service_manager import machines_agent
from ioconnect.status.observe import observe
from ioconnect.status.snapshots import StatusDamaged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ioconnect.config.paths import Paths
    from ioconnect.status.snapshots import Snapshot, TunnelStatus

PATIENCE = 8.0  # seconds for an attempt of the agent's that is under way
LOOK_EVERY = 0.25  # seconds; the status is a file


def state_of(name: str, paths: Paths, environ: Mapping[str, str]) -> tuple[TunnelStatus, int | None] | None:
    """Return the tunnel as a running agent has it, and the agent's pid; None if no agent keeps that tunnel.

    Waits for at most `PATIENCE` seconds while the agent is in the middle of an attempt.
    """
    end = time.monotonic() + PATIENCE
    while True:
        snapshot = _snapshot(paths, environ)
        tunnel = next((one for one in snapshot.tunnels if one.name == name), None) if snapshot else None
        if snapshot is None or tunnel is None or not has_it(tunnel):
            return None
        if is_settled(tunnel) or time.monotonic() > end:
            return tunnel, snapshot.pid
        time.sleep(LOOK_EVERY)


def hint_about_the_machines(paths: Paths, environ: Mapping[str, str]) -> str:
    """Return what to do for somebody without a configuration, if what they mean is the machine's service; else ""."""
    machines = machines_agent(paths, environ)
    return f"There is {machines.whose}, with a configuration of its own: sudo ioconnect test." if machines else ""


def _snapshot(paths: Paths, environ: Mapping[str, str]) -> Snapshot | None:
    with contextlib.suppress(SystemRefused, StatusDamaged):
        snapshot = observe(paths)
        if snapshot.running:
            return snapshot
    machines = machines_agent(paths, environ)
    return machines.snapshot if machines is not None else None
