"""`ioconnect reconnect`: make the agent try now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ioconnect.agent.process import launch
from ioconnect.console import selection
from ioconnect.console.command_group import command, name_argument

if TYPE_CHECKING:
    from ioconnect.console.invocation import Invocation


@command("reconnect", examples=["ioconnect reconnect"])
@name_argument
@click.pass_obj
def reconnect(invocation: Invocation, name: str | None) -> None:
    """Drop every wait and try now.

    A connected tunnel stays connected: only a keepalive is sent.
    """
    known = None if name is None else selection.tunnel(invocation.config, name).name
    launch.reconnect(invocation.paths, known)
    invocation.terminal.say("The agent tries now.")
