"""The agent's main loop: handles messages and deadlines, runs the tunnels, publishes a snapshot.

One thread. It blocks until the next message or deadline; without a deadline for ever, so an idle agent causes no
wake-ups. Sessions (other threads) and signal handlers reach it by a message (`mailbox`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from ioconnect.agent.network.routes import NetworkChanged
from ioconnect.agent.supervisor.background_jobs import do_at_once
from ioconnect.agent.supervisor.config_reader import ConfigReader, ConfigSource
from ioconnect.agent.supervisor.healing import Healing
from ioconnect.agent.supervisor.mailbox import (
    ConfigWasRead,
    FilesChanged,
    GetRunning,
    GetSnapshot,
    Reconnect,
    Reload,
    Report,
    Request,
    StartTunnels,
    Stop,
    StopTunnels,
)
from ioconnect.agent.supervisor.selection import Selection
from ioconnect.agent.supervisor.tunnel_set import TunnelSet
from ioconnect.agent.tunnel.events import (
    CountersChanged,
    StopRequested,
    TargetChanged,
)
from ioconnect.errors import ExitCode, Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from ioconnect.agent.supervisor.background_jobs import Put
    from ioconnect.agent.supervisor.config_reader import ReadConfig
    from ioconnect.agent.supervisor.mailbox import Command, Message
    from ioconnect.agent.supervisor.publish import Publisher
    from ioconnect.agent.supervisor.reload import Changes
    from ioconnect.agent.supervisor.tunnel_runner import AgentContext
    from ioconnect.config.configuration import Config
    from ioconnect.status.snapshots import Snapshot

log = logging.getLogger(__name__)

PUBLISH_INTERVAL = 1.0  # seconds between snapshots while only counters change; status is at most 2 s old
LOOP_TIMEOUT = 30.0  # seconds without an iteration of a session's loop after which it counts as hung


class AgentStopping(Fault):
    """The agent stops, and starts nothing any more."""

    exit_code = ExitCode.TEMP_FAIL


class Callbacks(ConfigSource, Protocol):
    """What the supervisor needs of the process around it."""

    watchdog_interval: float | None  # seconds between calls of `watchdog`; None: never

    def published(self, snapshot: Snapshot) -> None:
        """Take note of a snapshot in which a tunnel's state changed."""

    def stopping(self) -> None:
        """Take note that the agent stops."""

    def reloading(self) -> None:
        """Take note that a reload begins; `reloaded` follows."""

    def reloaded(self) -> None:
        """Take note that the reload ended, successful or not."""

    def watchdog(self) -> None:
        """Reset the service manager's watchdog; called only while the loops of all sessions run."""


@dataclass(frozen=True, slots=True)
class _PendingStop:
    """A StopTunnels of these names; the reply is due once they have stopped, with those that it `stopped`."""

    request: Request
    names: tuple[str, ...]
    stopped: tuple[str, ...]


class Supervisor:
    """Runs the tunnels of a configuration until a Stop."""

    def __init__(
        self,
        config: Config,
        context: AgentContext,
        publisher: Publisher,
        callbacks: Callbacks,
        selected: Selection | None = None,
        *,
        background: Put = do_at_once,
    ) -> None:
        """`background` reads the configuration, on a thread of its own."""
        self._tunnels = TunnelSet(config, context, selected or Selection())
        self.runners = self._tunnels.runners
        self._context = context
        self._publisher = publisher
        self._callbacks = callbacks
        self._reader = ConfigReader(callbacks, background, context.mailbox.put)
        self._healing = Healing(self._tunnels, publisher, self._reader, context.mailbox.put)
        self._healing.leave_out(config)
        self._pending_stops: list[_PendingStop] = []
        self._code: ExitCode | None = None
        self._state_changed = True
        self._counters_changed = False
        self._published_at = 0.0
        self._watchdog_at = context.clock.now()

    def run(self) -> ExitCode:
        """Start all tunnels, and return the exit code of the first Stop once all have stopped."""
        for runner in self.runners.values():
            runner.start()
        self._tunnels.admit()
        self._publish()
        while self._code is None or any(not runner.is_stopped for runner in self.runners.values()):
            message = self._context.mailbox.get(self._next_deadline())
            if message is not None:
                self._handle(message)
            self._state_changed |= self._tunnels.handle_deadlines()
            self._state_changed |= self._code is None and self._tunnels.replace_stopped()
            self._state_changed |= self._tunnels.admit()
            self._reply_stopped()
            self._publish()
            self._notify_watchdog()
        return self._code

    def _next_deadline(self) -> float | None:
        deadlines = [self._tunnels.next_deadline()]
        if self._counters_changed:
            deadlines.append(self._published_at + PUBLISH_INTERVAL)
        if self._callbacks.watchdog_interval is not None:
            deadlines.append(self._watchdog_at)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def _handle(self, message: Message) -> None:
        if isinstance(message, Report):
            self._handle_report(message)
            return
        if isinstance(message, Request):
            self._answer(message)
            return
        if isinstance(message, NetworkChanged):
            self._state_changed |= self._tunnels.network_changed(message)
            return
        self._state_changed = True
        if isinstance(message, Stop):
            self._stop(message.code)
        elif isinstance(message, Reload):
            self._read_for(message, lambda _reply: None)  # by a signal: the log has the fault
        elif isinstance(message, ConfigWasRead):
            message.then(message.read)
        elif isinstance(message, FilesChanged):
            self._healing.files_changed(message.tunnels)
        else:
            log.debug("%s: trying now", message.cause)  # debug, as a flapping link would fill the log
            for runner in self.runners.values():
                runner.handle_event(message)

    def _answer(self, request: Request) -> None:
        """Carry out a request and reply with the result or the fault; to StopTunnels once the tunnels stopped."""
        command = request.command
        if isinstance(command, GetSnapshot):
            request.reply(self._publisher.snapshot(self.runners.values()))
            return
        if isinstance(command, GetRunning):
            request.reply(self._tunnels.running())
            return
        self._state_changed = True
        try:
            if isinstance(command, StopTunnels):
                stopped = self._tunnels.stop(command.names)
                self._pending_stops.append(_PendingStop(request, command.names, stopped))
            elif isinstance(command, (Reload, StartTunnels)):
                self._read_for(command, request.reply)
            else:
                request.reply(self._carry_out(command))
        except Fault as fault:
            request.reply(fault)

    def _carry_out(self, command: Command) -> tuple[str, ...]:
        if isinstance(command, Reconnect):
            return self._tunnels.reconnect(command.names)
        assert isinstance(command, Stop)
        self._stop(command.code)
        return tuple(self.runners)

    def _handle_report(self, report: Report) -> None:
        runner = self.runners.get(report.tunnel)
        if isinstance(report.event, CountersChanged):
            self._counters_changed = True
        elif runner is not None:
            before = runner.state
            runner.handle_report(report)
            self._tunnels.note_route(runner)
            self._state_changed |= runner.state is not before or isinstance(report.event, TargetChanged)

    def _stop(self, code: ExitCode) -> None:
        log.info("stopping" if self._code is None else "stopping at once")
        self._callbacks.stopping()
        self._code = code if self._code is None else self._code
        self._healing.close()
        for runner in self.runners.values():
            runner.handle_event(StopRequested())

    def _reply_stopped(self) -> None:
        """Reply to whoever waits for tunnels that have stopped, or that were removed or started again meanwhile."""
        for pending in list(self._pending_stops):
            if not self._tunnels.are_stopping(pending.names):
                self._pending_stops.remove(pending)
                pending.request.reply(pending.stopped)

    def _read_for(self, command: Reload | StartTunnels, reply: Callable[[object], None]) -> None:
        """Have the configuration read, between RELOADING and READY, and carry the command out then."""
        if self._code is not None:
            reply(AgentStopping("the agent stops"))
            return
        self._callbacks.reloading()
        then = partial(self._take_over, command, reply, self._tunnels.stops)
        is_checked = self._tunnels.checked_for(command)
        all_valid = isinstance(command, Reload)  # for a start, another tunnel's file holds nobody up
        self._reader.read(then, is_checked, all_valid=all_valid)

    def _take_over(
        self, command: Reload | StartTunnels, reply: Callable[[object], None], stops: int, read: ReadConfig
    ) -> None:
        """Reply with what the configuration changes, or with the Fault for which nothing was changed."""
        try:
            if self._code is not None:
                raise AgentStopping("the agent stops")
            reply(self._changes(command, stops, read))
        except Fault as fault:
            faults = "; ".join(f"{each.path}: {each.message}" for each in getattr(fault, "faults", ()))
            if isinstance(command, Reload):
                log.error("reload refused, going on as before: %s", faults or fault.message)  # noqa: TRY400
            else:
                log.warning("up refused, nothing was started: %s", faults or fault.message)
            reply(fault)
        finally:
            self._callbacks.reloaded()
            if isinstance(command, Reload):  # also one that is refused: the pins may be what is at fault
                for runner in self.runners.values():
                    runner.check_host_key()

    def _changes(self, command: Reload | StartTunnels, stops: int, read: ReadConfig) -> Changes:
        """Carry the command out, which came after so many stops by name. Raises Fault."""
        if isinstance(read.config, Fault):
            raise read.config
        if isinstance(command, StartTunnels):
            return self._tunnels.start(command.names, read.config, read.check, stops=stops)
        changes = self._tunnels.reload(read.config, read.check)
        self._healing.leave_out(read.config)
        log.info("reload: %s", changes)
        return changes

    def _publish(self) -> None:
        now = self._context.clock.now()
        counters_due = self._counters_changed and now >= self._published_at + PUBLISH_INTERVAL
        if not self._state_changed and not counters_due:
            return
        state_changed = self._state_changed
        if state_changed and self._code is None:
            self._healing.watch()
            self._tunnels.replace_stopped()  # what was mended may begin at once
        self._state_changed, self._counters_changed, self._published_at = False, False, now
        snapshot = self._publisher.publish(self.runners.values())
        if state_changed:
            self._callbacks.published(snapshot)

    def _notify_watchdog(self) -> None:
        interval, now = self._callbacks.watchdog_interval, self._context.clock.now()
        if interval is None or now < self._watchdog_at:
            return
        self._watchdog_at = now + interval
        hung = [
            runner.tunnel.name
            for runner in self.runners.values()
            if runner.session is not None and now - runner.session.alive_at() > LOOP_TIMEOUT
        ]
        if hung:
            log.error("the loop of %s hangs: no watchdog notification", ", ".join(hung))
        else:
            self._callbacks.watchdog()
