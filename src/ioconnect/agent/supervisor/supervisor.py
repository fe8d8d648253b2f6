"""The agent's main loop: letters and deadlines in, machines and sessions moved, a snapshot out.

One thread. Between letters it sleeps until the earliest deadline, without one for ever: an idle agent wakes nobody.
What happens in a session (any thread) or in a signal handler comes as a letter (`agent.inbox`).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from ioconnect.agent.supervisor import reload
from ioconnect.agent.supervisor.mailbox import Reconnect, Reload, Report, Stop
from ioconnect.agent.supervisor.tunnel_runner import Keeper, Surroundings
from ioconnect.agent.tunnel.events import CountersChanged, DeadlinePassed, RetryRequested, StopRequested
from ioconnect.errors import ExitCode, Fault

if TYPE_CHECKING:
    from ioconnect.agent.supervisor.mailbox import Letter
    from ioconnect.agent.supervisor.publish import Publisher
    from ioconnect.config.configuration import Config
    from ioconnect.status.snapshots import Snapshot

log = logging.getLogger(__name__)

PUBLISH_EVERY = 1.0  # seconds, while only counters change; status is never more than 2 s old
LOOP_PATIENCE = 30.0  # seconds without a turn of a session's loop before it counts as stuck


class Outside(Protocol):
    """What the daemon adds: where the configuration comes from, and who is told what."""

    beat_every: float | None  # seconds between calls of `beat`; None: never

    def load(self) -> Config:
        """Read and check the configuration again. Raises Fault."""

    def requested(self) -> tuple[str, ...]:
        """Return the tunnels that a person wants reconnected; none named means all."""

    def published(self, snapshot: Snapshot) -> None:
        """Take note of a change of state."""

    def stopping(self) -> None:
        """Take note that the agent leaves."""

    def reloading(self) -> None:
        """Take note that the configuration is read again; `reloaded` follows."""

    def reloaded(self) -> None:
        """Take note that this is done, well or not."""

    def beat(self) -> None:
        """Say that the agent lives; called only while every session's loop turns."""


class Supervisor:
    """Keeps every tunnel of a configuration until it is told to stop."""

    def __init__(self, config: Config, around: Surroundings, publisher: Publisher, outside: Outside) -> None:
        self.keepers = {tunnel.name: Keeper(tunnel, config.agent, around) for tunnel in config.tunnels}
        self._config = config
        self._around = around
        self._publisher = publisher
        self._outside = outside
        self._leaving: dict[str, reload.Successor | None] = {}  # what follows when it has stopped
        self._code: ExitCode | None = None
        self._changed = True
        self._stirred = False
        self._published_at = 0.0
        self._beat_at = around.clock.now()

    def run(self) -> ExitCode:
        """Start every tunnel and return, with the code of the first Stop, when all have stopped."""
        for keeper in self.keepers.values():
            keeper.start()
        self._publish()
        while self._code is None or any(not keeper.is_stopped for keeper in self.keepers.values()):
            letter = self._around.inbox.get(self._next_deadline())
            if letter is not None:
                self._take(letter)
            self._pass_deadlines()
            self._succeed()
            self._publish()
            self._beat()
        return self._code

    def _next_deadline(self) -> float | None:
        deadlines = [keeper.state.deadline for keeper in self.keepers.values()]
        if self._stirred:
            deadlines.append(self._published_at + PUBLISH_EVERY)
        if self._outside.beat_every is not None:
            deadlines.append(self._beat_at)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def _take(self, letter: Letter) -> None:
        if isinstance(letter, Report):
            self._hear(letter)
            return
        self._changed = True
        if isinstance(letter, Stop):
            self._stop(letter.code)
        elif isinstance(letter, Reload):
            self._reload()
        elif isinstance(letter, Reconnect):
            self._reconnect(self._outside.requested())
        else:
            log.debug("%s: trying now", letter.cause)  # a flapping link must not fill the log
            for keeper in self.keepers.values():
                keeper.handle(letter)

    def _hear(self, report: Report) -> None:
        keeper = self.keepers.get(report.tunnel)
        if isinstance(report.event, CountersChanged):
            self._stirred = True
        elif keeper is not None:
            before = keeper.state
            keeper.hear(report)
            self._changed |= keeper.state is not before

    def _pass_deadlines(self) -> None:
        now = self._around.clock.now()
        for keeper in self.keepers.values():
            if keeper.state.deadline is not None and keeper.state.deadline <= now:
                keeper.handle(DeadlinePassed())
                self._changed = True

    def _stop(self, code: ExitCode) -> None:
        log.info("asked to leave" if self._code is None else "asked to leave at once")
        self._outside.stopping()
        self._code = code if self._code is None else self._code
        for keeper in self.keepers.values():
            self._leaving[keeper.tunnel.name] = None
            keeper.handle(StopRequested())

    def _reconnect(self, names: tuple[str, ...]) -> None:
        log.info("reconnect asked for: %s", ", ".join(names) or "all tunnels")
        for name in names or tuple(self.keepers):
            if name in self.keepers:
                self.keepers[name].handle(RetryRequested("reconnect"))

    def _reload(self) -> None:
        if self._code is not None:
            return
        self._outside.reloading()
        try:
            config = self._outside.load()
        except Fault as fault:
            faults = [f"{each.path}: {each.message}" for each in getattr(fault, "faults", ())]
            log.error("reload refused, going on as before: %s", "; ".join(faults) or fault.message)  # noqa: TRY400
        else:
            self._apply(config)
        self._outside.reloaded()

    def _apply(self, config: Config) -> None:
        changes = reload.compare(self._config, config)
        log.info("reload: %s", changes)
        asked_already = set(self._leaving)
        for name in changes.removed:
            self._leaving[name] = None
        for successor in changes.changed + changes.added:
            if successor.tunnel.name in self.keepers:  # also one that was removed and has not left yet
                self._leaving[successor.tunnel.name] = successor
            else:
                self._begin(successor)
        for name in (*changes.removed, *(successor.tunnel.name for successor in changes.changed)):
            if name not in asked_already:  # a second request would cut the leaving short
                self.keepers[name].handle(StopRequested())
        for name in changes.unchanged:
            if self.keepers[name].is_waiting:
                self.keepers[name].handle(RetryRequested("reload"))
        self._config = config

    def _begin(self, successor: reload.Successor) -> None:
        keeper = Keeper(successor.tunnel, successor.settings, self._around)
        self.keepers[successor.tunnel.name] = keeper
        keeper.start()

    def _succeed(self) -> None:
        """Let those who have stopped go, or begin again as what the configuration says now."""
        if self._code is not None:
            return
        for name in [name for name in self._leaving if self.keepers[name].is_stopped]:
            successor = self._leaving.pop(name)
            if successor is None:
                del self.keepers[name]
            else:
                self.keepers[name].become(successor.tunnel, successor.settings)
                self.keepers[name].start()
            self._changed = True

    def _publish(self) -> None:
        now = self._around.clock.now()
        if not self._changed and not (self._stirred and now >= self._published_at + PUBLISH_EVERY):
            return
        changed, self._changed, self._stirred, self._published_at = self._changed, False, False, now
        snapshot = self._publisher.publish(self.keepers.values())
        if changed:
            self._outside.published(snapshot)

    def _beat(self) -> None:
        every, now = self._outside.beat_every, self._around.clock.now()
        if every is None or now < self._beat_at:
            return
        self._beat_at = now + every
        stuck = [
            keeper.tunnel.name
            for keeper in self.keepers.values()
            if keeper.session is not None and now - keeper.session.alive_at() > LOOP_PATIENCE
        ]
        if stuck:
            log.error("no sign of life from the loop of %s", ", ".join(stuck))
        else:
            self._outside.beat()
