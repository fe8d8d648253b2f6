"""`ioconnect down`: end the agent, or stop some of its tunnels."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import click

from ioconnect.agent.process.stop import proven_pid, stop
from ioconnect.commands.run.agent import message
from ioconnect.console.command_group import command, names_argument
from ioconnect.errors import AgentNotRunning, ExitCode, Fault, SystemRefused
from ioconnect.installers import service_manager
from ioconnect.installers.apply import run
from ioconnect.status import control
from ioconnect.status.control import AgentSilent, check_config

if TYPE_CHECKING:
    from ioconnect.console.invocation import Invocation
    from ioconnect.installers.service_manager import ServiceManager

STOP_TIMEOUT = 10.0  # seconds; the agent itself takes at most 5 to end cleanly


class NotPermitted(Fault):
    """Another account may do this."""

    exit_code = ExitCode.NO_PERMISSION


@command("down", examples=["ioconnect down", "ioconnect down orders"])
@names_argument
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
        _say_not_running(invocation)
        return
    with invocation.terminal.busy("stopping"):
        done = control.change(invocation.paths, "/v1/down", message(invocation, names))
    stopped = done["tunnels"]
    before = [name for name in dict.fromkeys(names) if name not in stopped]
    if stopped:
        invocation.terminal.say(f"Stopped {', '.join(stopped)}; ioconnect up {' '.join(stopped)} starts it again.")
    if before:
        invocation.terminal.say(f"Already stopped: {', '.join(before)}; ioconnect up {' '.join(before)} starts it.")


def stop_agent(invocation: Invocation) -> None:
    """Stop the agent and wait until it has ended; says so if none runs. Raises Fault."""
    terminal = invocation.terminal
    if control.running_pid(invocation.paths) is None:
        _say_not_running(invocation)
        return
    body = message(invocation)
    proven = proven_pid(invocation.paths)
    manager = service_manager.manager_of(proven) if proven else None
    if manager is not None and manager.stop_argv:
        _check_config(invocation, body)
        _stop_service(invocation, manager, proven)
        return
    with terminal.busy("stopping the agent"):
        pid = stop(invocation.paths, deadline=STOP_TIMEOUT, body=body, say=terminal.say)
    terminal.say("No agent is running." if pid is None else f"Stopped the agent (pid {pid or 'unknown'}).")
    if manager is not None:
        terminal.say(f"{manager.name} starts it again {manager.restart_delay}. To stop it: {manager.stop}")


def _check_config(invocation: Invocation, body: dict[str, object]) -> None:
    """Raise OtherConfiguration if another configuration than the agent's is meant; a silent agent has none."""
    with contextlib.suppress(AgentSilent, AgentNotRunning):
        status = control.request(invocation.paths, "GET", "/v1/status")
        check_config(body, status["agent"]["config"])


def _stop_service(invocation: Invocation, manager: ServiceManager, pid: int | None) -> None:
    if manager.needs_root and os.geteuid() != 0:
        raise NotPermitted(f"the agent (pid {pid}) is {manager.name}: root may stop it", hint=manager.stop)
    with invocation.terminal.busy(f"stopping {manager.name}"):
        done = run(manager.stop_argv)
    if done.returncode != 0:
        raise SystemRefused(f"cannot stop {manager.name}: {done.error_text}", hint=f"Try: {manager.stop}")
    invocation.terminal.say(f"Stopped {manager.name} (pid {pid}).")


def _say_not_running(invocation: Invocation) -> None:
    invocation.terminal.say("No agent is running.")
    other = service_manager.system_agent(invocation.paths, os.environ)
    if other is not None:
        invocation.terminal.say(f"But {other.description} is; to stop it: {other.manager.stop}")
