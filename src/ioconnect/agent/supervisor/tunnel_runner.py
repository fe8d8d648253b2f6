"""Runs one tunnel: the state of its state machine, its current session, and what is kept across sessions.

Belongs to the supervisor's thread. The state machine decides; the runner carries its commands out.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ioconnect.agent.dial.happy_eyeballs import SourcePort
from ioconnect.agent.network.routes import INTERNET
from ioconnect.agent.supervisor.mailbox import Report
from ioconnect.agent.supervisor.outage_log import log_line, target_log_line
from ioconnect.agent.tunnel.counters import Counters
from ioconnect.agent.tunnel.events import (
    AbortSession,
    Closed,
    CloseSession,
    Command,
    CountersChanged,
    Dial,
    Granted,
    Lost,
    MachineEvent,
    Probe,
    RequestForward,
    SessionEvent,
    SignedIn,
    Started,
    TargetChanged,
)
from ioconnect.agent.tunnel.machine import TABLE, IllegalEvent, step
from ioconnect.agent.tunnel.shortage import cannot_start, shortage
from ioconnect.agent.tunnel.state import Phase, TunnelState
from ioconnect.agent.tunnel.target_health import TargetHealth
from ioconnect.agent.tunnel.turnstile import Candidate, Progress
from ioconnect.disposition import Disposition
from ioconnect.errors import ConnectionLost, Fault
from ioconnect.keys.credentials import ReadFiles
from ioconnect.status.snapshots import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from ioconnect.agent.network.routes import FindRoute
    from ioconnect.agent.session.session import Session
    from ioconnect.agent.supervisor.mailbox import Clock, Mailbox
    from ioconnect.agent.supervisor.source_ports import SourcePorts
    from ioconnect.config.configuration import AgentSettings, Tunnel
    from ioconnect.config.paths import Paths
    from ioconnect.status.snapshots import Security, Warning_

log = logging.getLogger(__name__)


def unknown_route(_address: str) -> None:
    """Know of no route, in place of the kernel."""


@dataclass(frozen=True, slots=True)
class AgentContext:
    """What all tunnels of an agent share."""

    paths: Paths
    session_factory: Callable[..., Session]  # Session itself, or a fake of a test
    mailbox: Mailbox
    clock: Clock
    source_ports: SourcePorts
    find_route: FindRoute = unknown_route


class TunnelRunner:
    """Runs one tunnel."""

    def __init__(self, tunnel: Tunnel, settings: AgentSettings, context: AgentContext) -> None:
        self.tunnel = tunnel
        self.settings = settings
        self.counters = Counters(target=TargetHealth(context.clock.now(), context.clock.wall()))
        self.state = TunnelState(since=context.clock.now())
        self.since_wall = context.clock.wall()
        self.down_since_wall: float | None = self.since_wall  # None while connected
        self.host_key: str | None = None
        self.identity: str | None = None  # the fingerprint of the key that signed in
        self.security: Security | None = None
        self.warnings: tuple[Warning_, ...] = ()
        self.files = ReadFiles()  # of the latest session
        self.session: Session | None = None
        self._peer: str | None = None  # the address of the latest session
        self._context = context
        self._generation = 0
        self._target_logged = self.target.state

    @property
    def target(self) -> TargetHealth:
        """Whether the target accepts connections, as the session's thread saw last."""
        return self.counters.target

    @property
    def is_stopped(self) -> bool:
        """Whether the tunnel has stopped, or was not started."""
        return self.state.phase is Phase.STOPPED

    @property
    def is_waiting(self) -> bool:
        """Whether the tunnel waits to retry, which a RetryRequested would end."""
        return self.state.retry_class is not None

    @property
    def is_held(self) -> bool:
        """Whether the tunnel is held, by a local fault or the jumphost's refusal: a changed file may mend it."""
        return self.state.phase is Phase.HELD

    @property
    def is_held_by_local_fault(self) -> bool:
        """Whether the tunnel is held by a fault of this machine: its identity, its pins or its configuration."""
        return self.is_held and self.state.retry_class is Disposition.EXIT

    @property
    def candidate(self) -> Candidate:
        """What the turnstile goes by."""
        progress, session = Progress.NONE, self.session
        if session is not None and session.host_key is not None:
            progress = Progress.HOST_KEY
        elif session is not None and session.peer_address is not None:
            progress = Progress.CONNECTED
        return Candidate(self.tunnel.name, self.tunnel.jumphost.normalized, self.state, progress)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses whose routes concern the tunnel: its session's, or those that the next may have."""
        peer = (self._peer,) if self._peer is not None else ()
        return peer if peer and self.state.is_signed_in else (self.tunnel.jumphost.host, *peer, *INTERNET)

    def start(self) -> None:
        """Start the tunnel, from the source port of a session that was never closed if one is stored."""
        self.handle_event(Started(reuse_source=self._context.source_ports.get(self.tunnel) is not None))

    def check_host_key(self) -> None:
        """Have a session that lives hold its host key against the pins as they are now."""
        if self.session is not None:
            self.session.check_host_key()

    def reconfigure(self, tunnel: Tunnel, settings: AgentSettings) -> None:
        """Take a new configuration; only while stopped. Counters go on, as they count since the agent started."""
        assert self.is_stopped
        old, now = self.state, self._context.clock.now()
        if tunnel.target != self.tunnel.target:
            self.counters.target = TargetHealth(now, self._context.clock.wall())
            self._target_logged = self.target.state
        self.tunnel, self.settings = tunnel, settings
        self.state = TunnelState(now, attempts=old.attempts, reconnects=old.reconnects)
        self.since_wall = self._context.clock.wall()

    def handle_report(self, report: Report) -> None:
        """Handle an event of the current session; those of earlier sessions are ignored."""
        self._log_target()
        event = report.event
        if report.generation != self._generation or isinstance(event, (CountersChanged, TargetChanged)):
            return
        if isinstance(event, (SignedIn, Granted)) and self.session is not None:
            self.host_key, self.identity = self.session.host_key, self.session.identity
            self.security = self.session.security
            self._peer = self.session.peer_address
        self._update_source_port(event)
        if isinstance(event, (Lost, Closed)):
            self.session = None
            self._generation += 1
        self.handle_event(event)

    def _log_target(self) -> None:
        """Log once that the target went down, and that it answers again."""
        line = target_log_line(self._target_logged, self.target)
        self._target_logged = self.target.state
        if line is not None:
            log.log(line[0], "%s: %s", self.tunnel.name, line[1])

    def handle_event(self, event: MachineEvent) -> None:
        """Step the state machine, log a change, and carry out the commands."""
        clock = self._context.clock
        now, before = clock.now(), self.state
        try:
            self.state, commands = step(before, event, now, clock.random())
        except IllegalEvent as bug:
            self._recover(bug)
            return
        if self.state.shown is not before.shown:
            self.since_wall = clock.wall()
        if self.state.shown is State.CONNECTED:
            self.down_since_wall = None
        elif self.down_since_wall is None:
            self.down_since_wall = clock.wall()
        line = log_line(before, self.state, now)
        if line is not None:
            log.log(line[0], "%s: %s", self.tunnel.name, line[1])
        for command in commands:
            self._execute(command)

    def _recover(self, bug: IllegalEvent) -> None:
        """Abort the session and retry after an illegal event: a bug must not stop the tunnel for good."""
        log.error("%s: a bug: %s", self.tunnel.name, bug, exc_info=bug)
        if Lost in TABLE[self.state.phase]:
            self._abort()
            lost = ConnectionLost(f"a bug: {bug}", hint="Please report it, with the log.")
            self.handle_event(Lost(lost, unclean=True))

    def _execute(self, command: Command) -> None:
        if isinstance(command, Dial):
            self._dial(reuse_source=command.reuse_source)
        elif isinstance(command, AbortSession):
            self._abort()
        elif self.session is None:
            log.debug("%s: no session for %s", self.tunnel.name, command)
        elif isinstance(command, RequestForward):
            self.session.request_forward()
        elif isinstance(command, Probe):
            self.session.probe()
        elif isinstance(command, CloseSession):
            self.session.close()

    def _dial(self, *, reuse_source: bool) -> None:
        self._abort()
        context = self._context
        report = partial(self._report, self._generation)
        try:
            self.session = context.session_factory(
                self.tunnel,
                self.settings,
                context.paths,
                self.counters,
                report,
                source=context.source_ports.get(self.tunnel) if reuse_source else None,
            )
            self.files = self.session.files
            self.session.start()
        except Exception as error:
            if shortage(error) is None:
                log.exception("%s: a bug: no session", self.tunnel.name)
            fault = error if isinstance(error, Fault) else cannot_start(error)
            report(Lost(fault, unclean=False))

    def _report(self, generation: int, event: SessionEvent) -> None:
        """Queue a session's event for the supervisor. Any thread."""
        self._context.mailbox.put(Report(self.tunnel.name, generation, event))

    def _abort(self) -> None:
        """Abort the session, if there is one; its later events belong to an earlier generation and are ignored."""
        self._generation += 1
        session, self.session = self.session, None
        if session is not None:
            session.abort()

    def _update_source_port(self, event: SessionEvent) -> None:
        """Store the source port of a granted session until the jumphost knows that the session ended."""
        source_ports = self._context.source_ports
        if isinstance(event, Granted):
            if self.session is not None and self.session.local_address is not None:
                source = SourcePort(*self.session.local_address, self.session.peer_address)
                source_ports.store(self.tunnel, source)
            return
        closed = isinstance(event, Closed) or (isinstance(event, Lost) and not event.unclean)
        if closed and self.state.connected_at is not None:  # otherwise the stored port is of an earlier, dead session
            source_ports.remove(self.tunnel)
