"""The snapshot that everybody else reads: made of the keepers, written to the status file."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from ioconnect import __version__
from ioconnect.errors import CannotCreate
from ioconnect.status import snapshots
from ioconnect.status.snapshots import Connections, Snapshot, State, TunnelStatus, timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ioconnect.agent.supervisor.mailbox import Clock
    from ioconnect.agent.supervisor.tunnel_runner import Keeper
    from ioconnect.config.paths import Paths

log = logging.getLogger(__name__)

_WAITING = {State.BACKOFF, State.HELD, State.STANDBY}


class Publisher:
    """Writes the status file, and the same for everybody to `public`; a full disk is mentioned once."""

    def __init__(self, paths: Paths, clock: Clock, *, started_at: str, public: Path | None = None) -> None:
        self._path = paths.status
        self._public = public
        self._clock = clock
        self._started_at = started_at
        self._complained = False

    def publish(self, keepers: Iterable[Keeper]) -> Snapshot:
        """Write what every tunnel does now, and return it."""
        tunnels = tuple(self._line(keeper) for keeper in keepers)
        snapshot = Snapshot(True, os.getpid(), __version__, self._started_at, tunnels)
        try:
            snapshots.write(self._path, snapshot)
            if self._public is not None:
                snapshots.write(self._public, snapshot, mode=0o644)
            self._complained = False
        except CannotCreate as fault:
            if not self._complained:
                log.warning("%s; status shows what was written last", fault.message)
            self._complained = True
        return snapshot

    def _line(self, keeper: Keeper) -> TunnelStatus:
        keeper.counters.changed = False  # before it is read: what changes from here on is reported anew
        tunnel, counters, state = keeper.tunnel, keeper.counters, keeper.state
        ahead = state.deadline - self._clock.now() if state.deadline is not None else None
        connected = state.shown is State.CONNECTED
        waiting = ahead is not None and state.shown in _WAITING
        return TunnelStatus(
            name=tunnel.name,
            state=state.shown,
            since=timestamp(keeper.since_wall),
            reason=state.reason,
            jumphost=str(tunnel.jumphost),
            listen_port=tunnel.listen_port,
            target=str(tunnel.target),
            attempts=state.attempts,
            reconnects=state.reconnects,
            next_attempt_at=timestamp(self._clock.wall() + ahead) if waiting and ahead is not None else None,
            rtt_ms=round(counters.rtt * 1000, 1) if connected and counters.rtt is not None else None,
            connections=Connections(counters.open, counters.total, counters.refused, counters.failed),
            bytes_from_target=counters.from_target,
            bytes_to_target=counters.to_target,
            host_key=keeper.host_key,
        )


def summary(snapshot: Snapshot) -> str:
    """Return the truth in one line: how many are connected, and what keeps the first of the others."""
    connected = sum(tunnel.state is State.CONNECTED for tunnel in snapshot.tunnels)
    line = f"{connected} of {len(snapshot.tunnels)} connected"
    for tunnel in snapshot.tunnels:
        if tunnel.state is not State.CONNECTED:
            why = f": {tunnel.reason.message}" if tunnel.reason else ""
            return f"{line}; {tunnel.name} {tunnel.state.value}{why}"
    return line
