"""`ioconnect down`: end the agent, or stop some of its tunnels."""

from __future__ import annotations

import contextlib
import os
import time
from functools import partial
from typing import TYPE_CHECKING

import click

from ioconnect.agent.process.stop import stop
from ioconnect.commands.run.agent import document, message, seen
from ioconnect.console.command_group import command, json_option, names_argument
from ioconnect.errors import AgentNotRunning, ConfigInvalid, ExitCode, Fault, SystemRefused
from ioconnect.installers import installed, service_manager
from ioconnect.installers.programs import run
from ioconnect.installers.service import UNIT_NAME, Kind
from ioconnect.status import control, snapshots
from ioconnect.status.control import check_config
from ioconnect.status.observe import agent_pid, ask, ended, observe
from ioconnect.status.snapshots import State

if TYPE_CHECKING:
    from ioconnect.config.configuration import Tunnel
    from ioconnect.console.invocation import Invocation
    from ioconnect.installers.service_manager import ServiceManager

STOP_TIMEOUT = 10.0  # seconds; the agent itself takes at most 5 to end cleanly


class NotPermitted(Fault):
    """Another account may do this."""

    exit_code = ExitCode.NO_PERMISSION


@command("down", examples=["ioconnect down", "ioconnect down orders", "ioconnect down --json | jq .agent"])
@names_argument
@json_option
@click.pass_obj
def down(invocation: Invocation, names: tuple[str, ...]) -> None:
    """Stop the agent, or the named tunnels, cleanly: the jumphost frees the ports at once.

    A tunnel that was stopped by its name stays so until `up NAME` or the agent's next start; neither reload nor `up`
    starts it. An agent that a service manager runs is stopped by stopping the service. One that does not answer is
    ended by a signal.
    """
    if names:
        stop_tunnels(invocation, names)
    else:
        stop_agent(invocation)


def stop_tunnels(invocation: Invocation, names: tuple[str, ...]) -> None:
    """Have the agent stop these tunnels; says so if none runs. Raises Fault."""
    if control.running_pid(invocation.paths) is None:
        _say_not_running(invocation, names)
        return
    with invocation.terminal.busy("stopping"):
        done = control.change(invocation.paths, "/v1/down", message(invocation, names))
    stopped = snapshots.names_in(done, "tunnels")["tunnels"]
    before = [name for name in dict.fromkeys(names) if name not in stopped]
    if stopped:
        invocation.terminal.say(f"Stopped {', '.join(stopped)}; ioconnect up {' '.join(stopped)} starts it again.")
    if before:
        invocation.terminal.say(f"Already stopped: {', '.join(before)}; ioconnect up {' '.join(before)} starts it.")
    if invocation.as_json:
        outcomes = {**dict.fromkeys(before, "unchanged"), **dict.fromkeys(stopped, "stopped")}
        invocation.document = document(seen(invocation.paths), outcomes, was_running=True)


def stop_agent(invocation: Invocation) -> None:
    """Stop the agent and wait until it has ended; says so if none runs.

    Raises Fault; AgentNotRunning for an agent that root has installed for another account.
    """
    if control.running_pid(invocation.paths) is None:
        _say_not_running(invocation)
        return
    before = seen(invocation.paths) if invocation.as_json else None
    pid = _stop_running(invocation)
    if before is not None:
        outcomes = {each.name: "unchanged" if each.state is State.STOPPED else "stopped" for each in before.tunnels}
        after = ended(before, time.time())
        invocation.document = document(after, outcomes, was_running=pid is not None, pid=pid or None)


def _stop_running(invocation: Invocation) -> int | None:
    """Stop the agent or its service; return its pid, 0 if it is not known, None if it has ended meanwhile."""
    terminal = invocation.terminal
    body = message(invocation)
    proven = agent_pid(invocation.paths) or _pid_of_service(invocation)
    manager = service_manager.manager_of(proven) if proven else None
    if manager is not None and manager.stop_argv:
        _check_config(invocation, body)
        _stop_service(invocation, manager, proven)
        return proven
    with terminal.busy("stopping the agent"):
        pid = stop(invocation.paths, deadline=STOP_TIMEOUT, body=body, say=terminal.say)
    terminal.say("No agent is running." if pid is None else f"Stopped the agent (pid {pid or 'unknown'}).")
    if manager is not None:
        terminal.say(f"{manager.name} starts it again {manager.restart_delay}. To stop it: {manager.stop}")
    return pid


def _pid_of_service(invocation: Invocation) -> int:
    """Return the pid of root's service for this configuration, as systemd knows it; 0 if there is none."""
    found = installed.service_for(invocation.paths, os.environ) if os.geteuid() == 0 else None
    if found is not None and found[0] is Kind.SYSTEMD:
        with contextlib.suppress(SystemRefused):
            return int(service_manager.unit_properties(UNIT_NAME, Kind.SYSTEMD, "MainPID")["MainPID"])
    return 0


def _check_config(invocation: Invocation, body: dict[str, object]) -> None:
    """Raise OtherConfiguration if another configuration than the agent's is meant; one that says none has none."""
    config = None
    with contextlib.suppress(Fault):  # it is silent, refuses or lies: its service is known all the same
        config = ask(invocation.paths).config
    if config is not None:
        check_config(body, config)


def _stop_service(invocation: Invocation, manager: ServiceManager, pid: int | None) -> None:
    if manager.needs_root and os.geteuid() != 0:
        raise NotPermitted(f"the agent (pid {pid}) is {manager.name}: root may stop it", hint=manager.stop)
    with invocation.terminal.busy(f"stopping {manager.name}"):
        done = run(manager.stop_argv)
    if done.returncode != 0:
        raise SystemRefused(f"cannot stop {manager.name}: {done.error_text}", hint=f"Try: {manager.stop}")
    invocation.terminal.say(f"Stopped {manager.name} (pid {pid}).")


def _configured(invocation: Invocation) -> tuple[Tunnel, ...]:
    """Return the configured tunnels; none if the configuration has a fault, with which nothing is to be stopped."""
    with contextlib.suppress(ConfigInvalid):
        return invocation.config.tunnels
    return ()


def _say_not_running(invocation: Invocation, names: tuple[str, ...] = ()) -> None:
    invocation.terminal.say("No agent is running.")
    if invocation.as_json:
        snapshot = observe(invocation.paths, partial(_configured, invocation))
        outcomes = {each.name: "unchanged" for each in snapshot.tunnels if not names or each.name in names}
        invocation.document = document(snapshot, outcomes, was_running=False)
    other = installed.machines_agent(invocation.paths, os.environ)
    if other is None:
        return
    theirs = installed.of_another_account(invocation.paths, os.environ)
    if theirs is None or theirs.kind is Kind.SYSTEMD:
        invocation.terminal.say(f"But {other.description} is; to stop it: {other.manager.stop}")
        return
    stop = theirs.line("down", *names) if names or theirs.kind is Kind.CRON else other.manager.stop
    raise AgentNotRunning(f"{other.description} goes on", hint=f"To stop it: {stop}")
