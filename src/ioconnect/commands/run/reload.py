"""`ioconnect reload`: make the agent read its configuration again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ioconnect.commands.run.agent import changed, changes, message, naming_the_service, not_started, outdated
from ioconnect.console.command_group import command, json_option
from ioconnect.status import control

if TYPE_CHECKING:
    from ioconnect.console.invocation import Invocation


@command("reload", examples=["ioconnect reload", "ioconnect reload --json | jq .changed"])
@json_option
@click.pass_obj
def reload(invocation: Invocation) -> None:
    """Make the agent read the configuration again.

    Says what was added, changed, removed and left alone. Tunnels that did not change keep their connections. With a
    fault in the configuration the agent goes on as it was.
    """
    reload_agent(invocation)


def reload_agent(invocation: Invocation) -> None:
    """Have the agent reload, and say what that changed.

    Raises AgentNotRunning, AgentSilent, and the Fault for which the agent refuses the configuration.
    """
    with naming_the_service(invocation, "reload"):
        done = changed(control.change(invocation.paths, "/v1/reload", message(invocation, reads_config=True)))
    invocation.answer("", **done)
    invocation.terminal.say(f"The agent has read its configuration again: {changes(done)}.")
    for remark in (*outdated(done), *not_started(done)):
        invocation.terminal.say(remark)
