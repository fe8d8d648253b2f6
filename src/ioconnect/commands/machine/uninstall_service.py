"""`ioconnect uninstall-service`: remove what install-service wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ioconnect.commands.machine.install_service import KIND, KIND_HELP
from ioconnect.console.command_group import command
from ioconnect.installers.install import uninstall
from ioconnect.installers.service import Kind

if TYPE_CHECKING:
    from ioconnect.console.invocation import Invocation


@command(
    "uninstall-service",
    examples=["sudo ioconnect uninstall-service", "ioconnect uninstall-service --kind cron"],
)
@click.option("--kind", type=KIND, help=KIND_HELP)
@click.option("--run-as", metavar="USER", help="cron: whose crontab it is in.")
@click.pass_obj
def uninstall_service(invocation: Invocation, kind: str | None, run_as: str | None) -> None:
    """Stop the service and remove what install-service wrote.

    The configuration, the identity and the pins stay.
    """
    outcome = uninstall(Kind(kind) if kind else None, run_as=run_as, config=invocation.config_file)
    for message in outcome.messages:
        invocation.terminal.say(message)
