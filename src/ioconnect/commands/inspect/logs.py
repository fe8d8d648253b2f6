"""`ioconnect logs`: the last lines of the agent's log, and those that follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ioconnect.console.command_group import command
from ioconnect.console.terminal import answer
from ioconnect.installers.service_manager import system_log_hint
from ioconnect.status import log_reader

if TYPE_CHECKING:
    from ioconnect.console.invocation import Invocation


@command("logs", examples=["ioconnect logs -n 20", "ioconnect logs -f"])
@click.option("-f", "--follow", is_flag=True, help="Go on with what is added, until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(0, 1_000_000), default=100, metavar="N", help="How many (100).")
@click.pass_obj
def logs(invocation: Invocation, lines: int, *, follow: bool) -> None:
    """Show the daemon's log."""
    path = invocation.paths.log
    if not log_reader.exists(path):
        invocation.terminal.say(f"There is no log yet at {path}.{system_log_hint()}")
    for line in log_reader.follow(path, lines) if follow else log_reader.last_lines(path, lines):
        answer(line)
