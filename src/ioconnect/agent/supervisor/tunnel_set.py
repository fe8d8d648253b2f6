"""The tunnels of an agent: which run, with which configuration, and what a change of it does to them.

Belongs to the supervisor's thread.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from ioconnect.agent.network.routes import RoutesInUse
from ioconnect.agent.supervisor.mailbox import Reload, StartTunnels
from ioconnect.agent.supervisor.reload import (
    Changes,
    Running,
    RunningTunnel,
    TunnelConfig,
    compare,
    is_same,
    keeps_session,
)
from ioconnect.agent.supervisor.selection import check_run
from ioconnect.agent.supervisor.tunnel_runner import AgentContext, TunnelRunner
from ioconnect.agent.tunnel.events import Admitted, DeadlinePassed, RetryRequested, StopRequested
from ioconnect.agent.tunnel.state import Phase
from ioconnect.agent.tunnel.turnstile import turns
from ioconnect.console.selection import chosen
from ioconnect.status.snapshots import State

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from pathlib import Path

    from ioconnect.agent.network.routes import NetworkChanged
    from ioconnect.agent.supervisor.selection import Selection
    from ioconnect.config.configuration import Config

log = logging.getLogger(__name__)


class TunnelSet:
    """The runners by name, in the order in which they were added."""

    def __init__(self, config: Config, context: AgentContext, selection: Selection) -> None:
        config = selection.of(config)
        self.runners = {tunnel.name: TunnelRunner(tunnel, config.agent, context) for tunnel in config.tunnels}
        # What each is to run with; one that stops for a change still has a session with its earlier one.
        self._configs = {tunnel.name: TunnelConfig(tunnel, config.agent) for tunnel in config.tunnels}
        self._context = context
        self._selection = selection
        self._routes = RoutesInUse(context.find_route)
        self._stopping: dict[str, TunnelConfig | None] = {}  # what to start once it has stopped; None: remove it

    def reload(self, config: Config, check: Callable[[Config], None]) -> Changes:
        """Take the configuration over; `check` raises a Fault for tunnels that cannot run: then nothing changes."""
        selected = self._selection.of(config)
        check(selected)
        changes = compare(self._configs, selected)
        for new in changes.changed:
            if not self.runners[new.tunnel.name].is_held:  # one that works is not given up for one that cannot
                check(replace(selected, tunnels=(new.tunnel,)))
        for name in changes.removed:
            del self._configs[name]
            self._stopping[name] = None
            self._request_stop(name)
        for new in changes.changed + changes.added:
            name = new.tunnel.name
            if name in self._configs and self._stopping.get(name) is None and keeps_session(self._configs[name], new):
                self._configs[name] = new
                self.runners[name].tunnel = new.tunnel
            else:
                self._start(new)
        for name in changes.unchanged:
            if self.runners[name].is_waiting:
                self.runners[name].handle_event(RetryRequested("reload"))
        started = {tunnel.name for tunnel in selected.tunnels} - self._selection.stopped
        left_out = tuple(tunnel.name for tunnel in config.enabled if tunnel.name not in started)
        unchanged = tuple(name for name in changes.unchanged if name not in left_out)
        return replace(changes, unchanged=unchanged, not_started=left_out)

    def heal(self, config: Config, mended: Collection[Path]) -> tuple[str, ...]:
        """Take over this configuration of tunnels held by a local fault, and start those of the `mended` files.

        Return their names.
        """
        changes = compare(self._configs, self._selection.without_others(config))
        taken = [new for new in changes.changed if self.runners[new.tunnel.name].is_held_by_local_fault]
        taken += [new for new in changes.added if new.tunnel.file in mended]
        for new in taken:
            self._start(new)
        return tuple(new.tunnel.name for new in taken)

    def without_running(self, config: Config) -> Config:
        """Return the configuration, with only those invalid files of which no tunnel runs."""
        files = {each.tunnel.file for each in self._configs.values()}
        return replace(config, invalid=tuple(file for file in config.invalid if file.path not in files))

    def running(self) -> Running:
        """Return what runs, for a comparison with the files."""
        tunnels = {
            name: RunningTunnel(
                self._configs[name], runner.state.shown, runner.identity, runner.host_key, runner.files.pinned
            )
            for name, runner in self.runners.items()
            if name in self._configs
        }
        return Running(tunnels, self._selection.names)

    def checked_for(self, command: Reload | StartTunnels) -> Callable[[str], bool]:
        """Return which tunnels this command may start, by their names: their local faults count."""
        selected, running = self._selection.names, {name for name in self.runners if self._is_to_run(name)}
        if isinstance(command, Reload):
            return lambda name: not selected or name in selected
        return lambda name: name not in running and (not command.names or name in command.names)

    @property
    def stops(self) -> int:
        """How many times tunnels were stopped by name."""
        return self._selection.stops

    def start(
        self, names: tuple[str, ...], config: Config, check: Callable[[Config], None], *, stops: int
    ) -> Changes:
        """Start these tunnels of the configuration unless they run. Raises Fault, and starts none.

        None named: all but those that were stopped by name; nor is one that was stopped after so many `stops`, which
        is when the start was asked for. One that runs is left alone, also if its configuration differs.
        """
        chosen(config, names)  # raises for an unknown name
        new = {t.name: TunnelConfig(t, config.agent) for t in config.enabled if not names or t.name in names}
        kept_stopped = self._selection.kept_stopped(names, stops)
        stopped = tuple(name for name in new if name in kept_stopped)
        running = [name for name in new if self._is_to_run(name)]
        lacking = tuple(each for name, each in new.items() if name not in running and name not in stopped)
        if lacking:
            check(replace(config, tunnels=tuple(each.tunnel for each in lacking)))
        self._selection.start(names, kept_stopped)
        for each in lacking:
            log.info("%s: starting", each.tunnel.name)
            self._start(each)
        outdated = tuple(name for name in running if not is_same(self._configs[name], new[name]))
        unchanged = tuple(name for name in running if name not in outdated)
        return Changes(added=lacking, unchanged=unchanged, outdated=outdated, not_started=stopped)

    def stop(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Begin to stop these tunnels, which then stay stopped; return those that were not. Raises TunnelNotRun."""
        check_run(names, self.runners)
        running = tuple(name for name in names if self._is_to_run(name))
        if running:
            log.info("stopping %s", ", ".join(running))
        self._selection.stop(names)
        for name in running:
            if self._stopping.get(name) is not None:  # a reload was about to start it again
                del self._stopping[name]
            self._request_stop(name)
        return running

    def are_stopping(self, names: Iterable[str]) -> bool:
        """Whether one of these tunnels has been told to stop and still has a session."""
        runners = [self.runners[name] for name in names if name in self.runners]
        return any(runner.state.shown is State.STOPPED and not runner.is_stopped for runner in runners)

    def reconnect(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """End the waits of these tunnels, or of all that run, and return them. Raises TunnelNotRun."""
        running = tuple(name for name, runner in self.runners.items() if runner.state.shown is not State.STOPPED)
        check_run(names, running)
        log.info("reconnect requested: %s", ", ".join(names) or "all tunnels")
        for name in names or running:
            self.runners[name].handle_event(RetryRequested("reconnect"))
        return names or running

    def replace_stopped(self) -> bool:
        """Remove the tunnels that stopped for good, start those that stopped for a change; return whether any."""
        stopped = [name for name in self._stopping if self.runners[name].is_stopped]
        for name in stopped:
            new = self._stopping.pop(name)
            if new is None:
                del self.runners[name]
            else:
                self.runners[name].reconfigure(new.tunnel, new.settings)
                self.runners[name].start()
        return bool(stopped)

    def next_deadline(self) -> float | None:
        """Return when `handle_deadlines` or `admit` has something to do next; None: not before another event."""
        now = self._context.clock.now()
        admitted, ask_again = self._turns(now)
        deadlines = [now if admitted else ask_again, *(runner.state.deadline for runner in self.runners.values())]
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def handle_deadlines(self) -> bool:
        """Handle the deadlines that have passed; return whether there was one."""
        now = self._context.clock.now()
        due = [
            each for each in self.runners.values() if each.state.deadline is not None and each.state.deadline <= now
        ]
        for runner in due:
            runner.handle_event(DeadlinePassed())
        return bool(due)

    def admit(self) -> bool:
        """Let those tunnels dial whose turn it is; return whether there was one."""
        admitted, _ = self._turns(self._context.clock.now())
        for name in admitted:
            self.runners[name].handle_event(Admitted())
            self.note_route(self.runners[name])
        return bool(admitted)

    def note_route(self, runner: TunnelRunner) -> None:
        """Take note of the routes that concern a tunnel, so that a change is seen."""
        self._routes.note(runner.addresses)

    def network_changed(self, change: NetworkChanged) -> bool:
        """Have the tunnels that the change concerns retry or probe their sessions; return whether there may be."""
        running = [runner for runner in self.runners.values() if runner.state.shown is not State.STOPPED]
        routes = self._routes.concerned((address for each in running for address in each.addresses), change)
        for runner in running:
            resolves_anew = change.resolver and not runner.state.is_signed_in
            if resolves_anew or not routes.isdisjoint(runner.addresses):
                log.debug("%s: the network changed", runner.tunnel.name)  # a flapping link would fill the log
                runner.handle_event(RetryRequested("the network changed", by_user=False))
        return bool(routes) or change.resolver

    def _turns(self, now: float) -> tuple[tuple[str, ...], float | None]:
        if not any(runner.state.phase is Phase.QUEUED for runner in self.runners.values()):
            return (), None
        return turns((runner.candidate for runner in self.runners.values()), now)

    def _start(self, new: TunnelConfig) -> None:
        """Start a tunnel with this configuration, once an earlier session stopped; not if it was stopped by name."""
        name = new.tunnel.name
        self._configs[name] = new
        runner = self.runners.get(name)
        is_wanted = name not in self._selection.stopped
        if runner is None:
            runner = self.runners[name] = TunnelRunner(new.tunnel, new.settings, self._context)
            if is_wanted:
                runner.start()
        elif is_wanted:
            self._stopping[name] = new
            self._request_stop(name)
        elif runner.is_stopped:
            runner.reconfigure(new.tunnel, new.settings)

    def _is_to_run(self, name: str) -> bool:
        """Whether a tunnel runs, or is about to run again once it has stopped for a change."""
        if name not in self.runners or name in self._selection.stopped:
            return False
        return self.runners[name].state.shown is not State.STOPPED or self._stopping.get(name) is not None

    def _request_stop(self, name: str) -> None:
        """Stop a tunnel unless it stops already: a second StopRequested would abort the session."""
        if self.runners[name].state.shown is not State.STOPPED:
            self.runners[name].handle_event(StopRequested())
