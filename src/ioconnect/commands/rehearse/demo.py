"""`ioconnect demo`: a tunnel's whole life on this machine, shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ioconnect.console.command_group import command

if TYPE_CHECKING:
    from ioconnect.console.invocation import Invocation
    from ioconnect.errors import ExitCode


@command("demo", examples=["ioconnect demo"])
@click.pass_obj
def demo(invocation: Invocation) -> ExitCode:
    """Show a tunnel's whole life on this machine.

    Needs nothing set up: a stub is the jumphost, a tiny service the database. Key, registration, tunnel, a request
    through it, a dropped link and the recovery; cleans up after itself.
    """
    from ioconnect.demo import run  # noqa: PLC0415  brings paramiko

    return run(invocation.terminal.say, busy=invocation.terminal.busy)
