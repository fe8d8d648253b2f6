"""The agent's main loop: handles messages and deadlines, runs the tunnels, publishes a snapshot.

One thread. It blocks until the next message or deadline; without a deadline for ever, so an idle agent causes no
wake-ups. Sessions (other threads) and signal handlers reach it by a message (`mailbox`).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from ioconnect.agent.supervisor import reload
from ioconnect.agent.supervisor.file_monitor import FileMonitor
from ioconnect.agent.supervisor.mailbox import FilesChanged, Reconnect, Reload, Report, Stop
from ioconnect.agent.supervisor.tunnel_runner import AgentContext, TunnelRunner
from ioconnect.agent.tunnel.events import (
    CountersChanged,
    DeadlinePassed,
    FileChanged,
    RetryRequested,
    StopRequested,
    TargetChanged,
)
from ioconnect.errors import ExitCode, Fault

if TYPE_CHECKING:
    from ioconnect.agent.supervisor.mailbox import Message
    from ioconnect.agent.supervisor.publish import Publisher
    from ioconnect.config.configuration import Config
    from ioconnect.status.snapshots import Snapshot

log = logging.getLogger(__name__)

PUBLISH_INTERVAL = 1.0  # seconds between snapshots while only counters change; status is at most 2 s old
LOOP_TIMEOUT = 30.0  # seconds without an iteration of a session's loop after which it counts as hung


class Callbacks(Protocol):
    """What the supervisor needs of the process around it."""

    watchdog_interval: float | None  # seconds between calls of `watchdog`; None: never

    def load_config(self) -> Config:
        """Load and check the configuration. Raises Fault."""

    def reconnect_requests(self) -> tuple[str, ...]:
        """Return the names of the tunnels to reconnect; none means all."""

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


class Supervisor:
    """Runs the tunnels of a configuration until a Stop."""

    def __init__(self, config: Config, context: AgentContext, publisher: Publisher, callbacks: Callbacks) -> None:
        self.runners = {tunnel.name: TunnelRunner(tunnel, config.agent, context) for tunnel in config.tunnels}
        self._config = config
        self._context = context
        self._publisher = publisher
        self._callbacks = callbacks
        self._stopping: dict[str, reload.TunnelConfig | None] = {}  # what to start once it has stopped; None: nothing
        self._file_monitor = FileMonitor(context.mailbox.put)
        self._code: ExitCode | None = None
        self._state_changed = True
        self._counters_changed = False
        self._published_at = 0.0
        self._watchdog_at = context.clock.now()

    def run(self) -> ExitCode:
        """Start all tunnels, and return the exit code of the first Stop once all have stopped."""
        for runner in self.runners.values():
            runner.start()
        self._publish()
        while self._code is None or any(not runner.is_stopped for runner in self.runners.values()):
            message = self._context.mailbox.get(self._next_deadline())
            if message is not None:
                self._handle(message)
            self._handle_deadlines()
            self._replace_stopped()
            self._publish()
            self._notify_watchdog()
        return self._code

    def _next_deadline(self) -> float | None:
        deadlines = [runner.state.deadline for runner in self.runners.values()]
        if self._counters_changed:
            deadlines.append(self._published_at + PUBLISH_INTERVAL)
        if self._callbacks.watchdog_interval is not None:
            deadlines.append(self._watchdog_at)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def _handle(self, message: Message) -> None:
        if isinstance(message, Report):
            self._handle_report(message)
            return
        self._state_changed = True
        if isinstance(message, Stop):
            self._stop(message.code)
        elif isinstance(message, Reload):
            self._reload()
        elif isinstance(message, FilesChanged):
            self._retry_with_changed_files(message.tunnels)
        elif isinstance(message, Reconnect):
            self._reconnect(self._callbacks.reconnect_requests())
        else:
            log.debug("%s: trying now", message.cause)  # debug, as a flapping link would fill the log
            for runner in self.runners.values():
                runner.handle_event(message)

    def _handle_report(self, report: Report) -> None:
        runner = self.runners.get(report.tunnel)
        if isinstance(report.event, CountersChanged):
            self._counters_changed = True
        elif runner is not None:
            before = runner.state
            runner.handle_report(report)
            self._state_changed |= runner.state is not before or isinstance(report.event, TargetChanged)

    def _handle_deadlines(self) -> None:
        now = self._context.clock.now()
        for runner in self.runners.values():
            if runner.state.deadline is not None and runner.state.deadline <= now:
                runner.handle_event(DeadlinePassed())
                self._state_changed = True

    def _stop(self, code: ExitCode) -> None:
        log.info("stopping" if self._code is None else "stopping at once")
        self._callbacks.stopping()
        self._code = code if self._code is None else self._code
        for runner in self.runners.values():
            self._stopping[runner.tunnel.name] = None
            runner.handle_event(StopRequested())

    def _reconnect(self, names: tuple[str, ...]) -> None:
        log.info("reconnect requested: %s", ", ".join(names) or "all tunnels")
        for name in names or tuple(self.runners):
            if name in self.runners:
                self.runners[name].handle_event(RetryRequested("reconnect"))

    def _retry_with_changed_files(self, names: tuple[str, ...]) -> None:
        for name in names:
            if name in self.runners:
                log.info("%s: a file of it changed", name)
                self.runners[name].handle_event(FileChanged())

    def _reload(self) -> None:
        if self._code is not None:
            return
        self._callbacks.reloading()
        try:
            config = self._callbacks.load_config()
        except Fault as fault:
            faults = [f"{each.path}: {each.message}" for each in getattr(fault, "faults", ())]
            log.error("reload refused, going on as before: %s", "; ".join(faults) or fault.message)  # noqa: TRY400
        else:
            self._apply(config)
        self._callbacks.reloaded()

    def _apply(self, config: Config) -> None:
        changes = reload.compare(self._config, config)
        log.info("reload: %s", changes)
        already_stopping = set(self._stopping)
        for name in changes.removed:
            self._stopping[name] = None
        for new in changes.changed + changes.added:
            if new.tunnel.name in self.runners:  # also one that was removed and has not stopped yet
                self._stopping[new.tunnel.name] = new
            else:
                self._start(new)
        for name in (*changes.removed, *(new.tunnel.name for new in changes.changed)):
            if name not in already_stopping:  # a second StopRequested would abort the session
                self.runners[name].handle_event(StopRequested())
        for name in changes.unchanged:
            if self.runners[name].is_waiting:
                self.runners[name].handle_event(RetryRequested("reload"))
        self._config = config

    def _start(self, new: reload.TunnelConfig) -> None:
        runner = TunnelRunner(new.tunnel, new.settings, self._context)
        self.runners[new.tunnel.name] = runner
        runner.start()

    def _replace_stopped(self) -> None:
        """Remove the tunnels that a reload stopped, or start them with their new configuration."""
        if self._code is not None:
            return
        for name in [name for name in self._stopping if self.runners[name].is_stopped]:
            new = self._stopping.pop(name)
            if new is None:
                del self.runners[name]
            else:
                self.runners[name].reconfigure(new.tunnel, new.settings)
                self.runners[name].start()
            self._state_changed = True

    def _publish(self) -> None:
        now = self._context.clock.now()
        counters_due = self._counters_changed and now >= self._published_at + PUBLISH_INTERVAL
        if not self._state_changed and not counters_due:
            return
        state_changed = self._state_changed
        if state_changed:
            held = {name: runner.files.stamps for name, runner in self.runners.items() if runner.is_held}
            self._file_monitor.watch({name: stamps for name, stamps in held.items() if stamps})
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
