"""`ioconnect down`: end the agent."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from ioconnect.agent.process import launch
from ioconnect.console.command_group import command
from ioconnect.installers import service_manager
from ioconnect.status import lock

if TYPE_CHECKING:
    from ioconnect.console.invocation import Invocation

STOP_TIMEOUT = 10.0  # seconds; the agent itself takes at most 5 to end cleanly


@command("down", examples=["ioconnect down"])
@click.pass_obj
def down(invocation: Invocation) -> None:
    """Stop the agent cleanly: the jumphost frees the ports at once."""
    stop_agent(invocation)


def stop_agent(invocation: Invocation) -> None:
    """Stop the agent and wait until it has ended; says so if none runs. Raises SystemRefused."""
    terminal = invocation.terminal
    running = lock.holder(invocation.paths.lock)
    manager = service_manager.manager_of(running) if running else None
    with terminal.busy("stopping the agent"):
        pid = launch.stop(invocation.paths, deadline=STOP_TIMEOUT)
    if pid is not None:
        terminal.say(f"Stopped the agent (pid {pid}).")
        if manager is not None:
            terminal.say(f"{manager.name} starts it again {manager.restart_delay}. To stop it: {manager.stop}")
        return
    terminal.say("No agent is running.")
    other = service_manager.system_agent(invocation.paths, os.environ)
    if other is not None:
        terminal.say(f"But {other.description} is; to stop it: {other.manager.stop}")
