"""Makes a status snapshot of the tunnel runners and writes it to the status file."""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import TYPE_CHECKING

from ioconnect import __version__
from ioconnect.agent.supervisor.background_jobs import do_at_once
from ioconnect.agent.supervisor.selection import Selection
from ioconnect.agent.tunnel.state import Phase
from ioconnect.errors import CannotCreate, TunnelStopped
from ioconnect.status import overview, snapshots
from ioconnect.status.snapshots import Connections, Snapshot, State, TargetState, TunnelStatus, timestamp

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    from ioconnect.agent.supervisor.background_jobs import Put
    from ioconnect.agent.supervisor.mailbox import Clock
    from ioconnect.agent.supervisor.tunnel_runner import TunnelRunner
    from ioconnect.agent.tunnel.target_health import TargetHealth
    from ioconnect.config.configuration import InvalidFile
    from ioconnect.config.paths import Paths
    from ioconnect.errors import Reason

log = logging.getLogger(__name__)

_WAITING = {State.BACKOFF, State.HELD, State.STANDBY}


class Publisher:
    """Has the status file written, and a copy that everybody may read to `public`; a failure is logged once."""

    def __init__(
        self,
        paths: Paths,
        clock: Clock,
        *,
        started_at: str,
        public: Path | None = None,
        put: Put = do_at_once,
        selection: Selection | None = None,
    ) -> None:
        """`selection` knows which tunnels were stopped by name."""
        self._path = paths.status
        self._config = str(paths.config)
        self._public = public
        self._clock = clock
        self._started_at = started_at
        self._put = put
        self._selection = selection or Selection()
        self._write_failed = False
        self._invalid: tuple[InvalidFile, ...] = ()
        self._invalid_since = ""

    def leave_out(self, invalid: tuple[InvalidFile, ...]) -> None:
        """Show the tunnels of these files as held from now on."""
        if invalid != self._invalid:
            self._invalid, self._invalid_since = invalid, timestamp(self._clock.wall())
            for file in invalid:
                log.error("left out until it is mended: %s", file.message)

    def publish(self, runners: Iterable[TunnelRunner]) -> Snapshot:
        """Have a snapshot of all tunnels written, and return it."""
        runners = list(runners)
        for runner in runners:
            runner.counters.changed = False  # before reading: a later change is reported again
        snapshot = self.snapshot(runners)
        self._put("status", partial(self._write_files, snapshot))
        return snapshot

    def _write_files(self, snapshot: Snapshot) -> None:
        """Write the files, on the thread of `put`."""
        try:
            snapshots.write(self._path, snapshot)
            if self._public is not None:
                snapshots.write(self._public, snapshot, mode=0o644)
            self._write_failed = False
        except CannotCreate as fault:
            if not self._write_failed:
                log.warning("%s; status shows what was written last", fault.message)
            self._write_failed = True

    def snapshot(self, runners: Iterable[TunnelRunner]) -> Snapshot:
        """Return a snapshot of all tunnels."""
        tunnels = [self._tunnel_status(runner) for runner in runners]
        tunnels += held(self._invalid, {tunnel.name for tunnel in tunnels}, self._invalid_since)
        return Snapshot(
            running=True,
            pid=os.getpid(),
            version=__version__,
            started_at=self._started_at,
            tunnels=tuple(tunnels),
            written_at=timestamp(self._clock.wall()),
            config=self._config,
        )

    def _tunnel_status(self, runner: TunnelRunner) -> TunnelStatus:
        tunnel, counters, state = runner.tunnel, runner.counters, runner.state
        remaining = state.deadline - self._clock.now() if state.deadline is not None else None
        connected = state.shown is State.CONNECTED
        waiting = remaining is not None and state.shown in _WAITING
        return TunnelStatus(
            name=tunnel.name,
            state=state.shown,
            since=timestamp(runner.since_wall),
            reason=stopped(tunnel.name) if tunnel.name in self._selection.stopped else state.reason,
            jumphost=str(tunnel.jumphost),
            listen_port=tunnel.listen_port,
            target=str(tunnel.target),
            attempts=state.attempts,
            reconnects=state.reconnects,
            next_attempt_at=timestamp(self._clock.wall() + remaining) if waiting and remaining is not None else None,
            rtt_ms=round(counters.rtt * 1000, 1) if connected and counters.rtt is not None else None,
            connections=Connections(counters.open, counters.total, counters.refused, counters.failed),
            bytes_from_target=counters.from_target,
            bytes_to_target=counters.to_target,
            host_key=runner.host_key,
            down_since=None if runner.down_since_wall is None else timestamp(runner.down_since_wall),
            target_state=_target_state(runner.target),
            security=runner.security if state.is_signed_in else None,
            identity=runner.identity if state.is_signed_in else None,
            warnings=runner.warnings,
            standby_ok=tunnel.standby,
            enabled=tunnel.enabled,
            waits_for_turn=state.phase is Phase.QUEUED,
            reused_source_port=state.reused_source if state.is_signed_in else None,
        )


def stopped(name: str) -> Reason:
    """Return the reason of a tunnel that was stopped by its name."""
    return TunnelStopped(f"stopped by `ioconnect down {name}`", hint=f"`ioconnect up {name}` starts it.").reason


def _target_state(health: TargetHealth) -> TargetState:
    return TargetState(health.state, timestamp(health.since_wall), health.failed, health.reason)


def held(invalid: Iterable[InvalidFile], running: Collection[str], since: str) -> Iterator[TunnelStatus]:
    """Yield a status for each tunnel of these files that does not run; their addresses are not known.

    A file in which no name can be read counts as one tunnel with the file's name.
    """
    for file in invalid:
        for name in file.names or (file.path.stem,):
            if name not in running:
                yield TunnelStatus(
                    name,
                    State.HELD,
                    since,
                    file.fault.reason,
                    jumphost="",
                    listen_port=0,
                    target="",
                    down_since=since,
                )


def summary(snapshot: Snapshot) -> str:
    """Return the status in one line: how many tunnels do what, and the reason of the worst."""
    return overview.summary(snapshot.tunnels)
