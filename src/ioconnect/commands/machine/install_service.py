"""`ioconnect install-service`: have this machine keep the agent running."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ioconnect.console.command_group import command
from ioconnect.installers.install import install
from ioconnect.installers.service import Kind

if TYPE_CHECKING:
    from ioconnect.console.invocation import Invocation

KIND = click.Choice([kind.value for kind in Kind])
KIND_HELP = "What starts and watches the agent; by default what this machine has and this user may use."


@command(
    "install-service",
    examples=["sudo ioconnect install-service", "ioconnect install-service --kind systemd --print"],
)
@click.option("--kind", type=KIND, help=KIND_HELP)
@click.option(
    "--print", "print_only", is_flag=True, help="Only show what would be written, and what that is refused for."
)
@click.option("--no-start", is_flag=True, help="Do not start it now, only with the machine.")
@click.option(
    "--run-as", metavar="USER", help="The account that runs it (systemd makes one up; else root must name one)."
)
@click.option("--encrypted-key", is_flag=True, help="systemd: the identity is KEY.cred, made by systemd-creds.")
@click.option("--force", is_flag=True, help="Replace a service that is installed and differs.")
@click.pass_obj
def install_service(
    invocation: Invocation,
    kind: str | None,
    run_as: str | None,
    *,
    print_only: bool,
    no_start: bool,
    encrypted_key: bool,
    force: bool,
) -> None:
    """Have this machine keep the agent running: from boot on, whoever is signed in.

    Uses systemd, cron or launchd. The --config and the IOCONNECT_HOME of this call are what the service uses. Run
    again it changes nothing.
    """
    terminal = invocation.terminal

    def confirm(difference: str) -> bool:
        terminal.say(difference)
        return terminal.is_interactive and terminal.choose("Replace it? [y/N]").lower() in ("y", "yes")

    outcome = install(
        Kind(kind) if kind else None,
        print_only=print_only,
        start=not no_start,
        run_as=run_as,
        encrypted=encrypted_key,
        force=force,
        config=invocation.config_file,
        confirm=confirm,
    )
    if print_only:
        click.echo(outcome.text, nl=False)
    for message in outcome.messages:
        terminal.say(message)
