"""One tunnel under supervision: its machine's state, its session, and what outlives the session.

Only the supervisor's thread comes here. The machine decides; this room carries its commands out.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ioconnect.agent.dial.happy_eyeballs import SourcePort
from ioconnect.agent.supervisor.mailbox import Report
from ioconnect.agent.supervisor.outage_log import narrate
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
)
from ioconnect.agent.tunnel.machine import TABLE, IllegalEvent, step
from ioconnect.agent.tunnel.state import Phase, TunnelState
from ioconnect.errors import ConnectionLost, Fault

if TYPE_CHECKING:
    from ioconnect.agent.supervisor.mailbox import Clock, Inbox
    from ioconnect.agent.supervisor.session_factory import RunningSession, SessionFactory
    from ioconnect.agent.supervisor.source_ports import SourcePorts
    from ioconnect.config.configuration import AgentSettings, Tunnel
    from ioconnect.config.paths import Paths

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all tunnels of an agent share."""

    paths: Paths
    factory: SessionFactory
    inbox: Inbox
    clock: Clock
    source_ports: SourcePorts


class Keeper:
    """Keeps one tunnel."""

    def __init__(self, tunnel: Tunnel, settings: AgentSettings, around: Surroundings) -> None:
        self.tunnel = tunnel
        self.settings = settings
        self.counters = Counters()
        self.state = TunnelState(since=around.clock.now())
        self.since_wall = around.clock.wall()
        self.host_key: str | None = None
        self.session: RunningSession | None = None
        self._around = around
        self._generation = 0

    @property
    def is_stopped(self) -> bool:
        """Whether nothing runs and nothing will."""
        return self.state.phase is Phase.STOPPED

    @property
    def is_waiting(self) -> bool:
        """Whether there is a wait that a person's wish would cut short."""
        return self.state.retry_class is not None

    def start(self) -> None:
        """Begin to connect; from the source port of a session that was never closed, if one is known."""
        self.handle(Started(reuse_source=self._around.source_ports.get(self.tunnel) is not None))

    def become(self, tunnel: Tunnel, settings: AgentSettings) -> None:
        """Take another configuration; only while stopped. Counters go on, they count since the agent started."""
        assert self.is_stopped
        self.tunnel, self.settings = tunnel, settings
        old, now = self.state, self._around.clock.now()
        self.state = TunnelState(now, attempts=old.attempts, reconnects=old.reconnects)
        self.since_wall = self._around.clock.wall()

    def hear(self, report: Report) -> None:
        """Take what a session says, if it is the present one and it concerns the machine."""
        if report.generation != self._generation:
            return
        event = report.event
        if isinstance(event, CountersChanged):
            return
        if isinstance(event, (SignedIn, Granted)) and self.session is not None:
            self.host_key = self.session.host_key
        self._mind_source(event)
        if isinstance(event, (Lost, Closed)):
            self.session = None
            self._generation += 1
        self.handle(event)

    def handle(self, event: MachineEvent) -> None:
        """Let the machine decide, carry out what it says, and log what is news."""
        clock = self._around.clock
        now, before = clock.now(), self.state
        try:
            self.state, commands = step(before, event, now, clock.roll())
        except IllegalEvent as bug:
            self._recover(bug)
            return
        if self.state.shown is not before.shown:
            self.since_wall = clock.wall()
        news = narrate(before, self.state, now)
        if news is not None:
            log.log(news[0], "%s: %s", self.tunnel.name, news[1])
        for command in commands:
            self._obey(command)

    def _recover(self, bug: IllegalEvent) -> None:
        """Start afresh after an event that cannot be: a bug must not leave a tunnel without a future."""
        log.error("%s: a bug: %s", self.tunnel.name, bug, exc_info=bug)
        if Lost in TABLE[self.state.phase]:
            self._drop()
            self.handle(Lost(ConnectionLost(f"a bug: {bug}", hint="Please report it, with the log."), unclean=True))

    def _obey(self, command: Command) -> None:
        if isinstance(command, Dial):
            self._dial(reuse_source=command.reuse_source)
        elif isinstance(command, AbortSession):
            self._drop()
        elif self.session is None:
            log.debug("%s: no session to obey %s", self.tunnel.name, command)
        elif isinstance(command, RequestForward):
            self.session.request_forward()
        elif isinstance(command, Probe):
            self.session.probe()
        elif isinstance(command, CloseSession):
            self.session.close()

    def _dial(self, *, reuse_source: bool) -> None:
        self._drop()
        around = self._around
        report = partial(self._report, self._generation)
        source = around.source_ports.get(self.tunnel) if reuse_source else None
        try:
            self.session = around.factory(
                self.tunnel,
                self.settings,
                around.paths,
                self.counters,
                report,
                source=source,
            )
            self.session.start()
        except (Fault, OSError, RuntimeError) as error:  # no descriptor or no thread left: that passes
            fault = error if isinstance(error, Fault) else ConnectionLost(f"cannot start a session: {error}")
            report(Lost(fault, unclean=False))

    def _report(self, generation: int, event: SessionEvent) -> None:
        """Take a session's word from any thread."""
        self._around.inbox.put(Report(self.tunnel.name, generation, event))

    def _drop(self) -> None:
        """Drop the session, if there is one; whatever it still says is an older generation's word."""
        self._generation += 1
        session, self.session = self.session, None
        if session is not None:
            session.abort()

    def _mind_source(self, event: SessionEvent) -> None:
        """Remember our end of a connection that holds the port, for as long as the jumphost may think it alive."""
        source_ports = self._around.source_ports
        if isinstance(event, Granted):
            if self.session is not None and self.session.local_address is not None:
                source_ports.remember(self.tunnel, SourcePort(*self.session.local_address, self.session.peer_address))
            return
        over = isinstance(event, Closed) or (isinstance(event, Lost) and not event.unclean)
        if over and self.state.connected_at is not None:  # else another, dead session may be the one with the port
            source_ports.forget(self.tunnel)
