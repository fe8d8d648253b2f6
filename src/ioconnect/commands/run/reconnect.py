"""`ioconnect reconnect`: make the agent try now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ioconnect.commands.run.agent import message
from ioconnect.console.command_group import command, name_argument
from ioconnect.status import control

if TYPE_CHECKING:
    from ioconnect.console.invocation import Invocation


@command("reconnect", examples=["ioconnect reconnect", "ioconnect reconnect orders"])
@name_argument
@click.pass_obj
def reconnect(invocation: Invocation, name: str | None) -> None:
    """Drop every wait and try now: of all tunnels, or of the named one.

    A connected tunnel stays connected: only a keepalive is sent.
    """
    names = () if name is None else (name,)
    done = control.change(invocation.paths, "/v1/reconnect", message(invocation, names))
    tried = ", ".join(done["tunnels"])
    invocation.terminal.say(f"The agent tries now: {tried}." if tried else "The agent runs no tunnel now.")
