"""`ioconnect reconnect`: make the agent try now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ioconnect.commands.run.agent import message, naming_the_service
from ioconnect.console.command_group import command, name_argument
from ioconnect.status import control, snapshots

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
    with naming_the_service(invocation, "reconnect", *names):
        done = control.change(invocation.paths, "/v1/reconnect", message(invocation, names))
    named = snapshots.names_in(done, "tunnels", "connected", optional={"connected"})
    probed = named["connected"]
    tried = [name for name in named["tunnels"] if name not in probed]
    if tried:
        invocation.terminal.say(f"The agent tries now: {', '.join(tried)}.")
    if probed:
        invocation.terminal.say(f"Already connected, so only a keepalive was sent: {', '.join(probed)}.")
    if not named["tunnels"]:
        invocation.terminal.say("The agent runs no tunnel now.")
