"""`install-service` and `uninstall-service`: parse, one call, what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ioconnect.console.command_group import Subcommand
from ioconnect.installers.service import Kind

if TYPE_CHECKING:
    from ioconnect.console.invocation import Call

KIND = click.Choice([kind.value for kind in Kind])
HELP_KIND = "What starts and watches the agent; by default what this machine has and this user may use."


@click.command(
    "install-service",
    cls=Subcommand,
    examples=["sudo ioconnect install-service", "ioconnect install-service --kind systemd --print"],
)
@click.option("--kind", type=KIND, help=HELP_KIND)
@click.option("--print", "print_only", is_flag=True, help="Show the file that would be written, and do nothing.")
@click.option("--no-start", is_flag=True, help="Do not start it now, only with the machine.")
@click.option("--run-as", metavar="USER", help="The account that runs it (systemd makes one up by default).")
@click.option("--encrypted-key", is_flag=True, help="systemd: the identity is KEY.cred, made by systemd-creds.")
@click.option("--force", is_flag=True, help="Replace a service that is installed and differs.")
@click.pass_obj
def install_service(
    call: Call,
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
    from ioconnect.installers.install import install  # noqa: PLC0415

    def confirm(difference: str) -> bool:
        call.terminal.say(difference)
        return call.terminal.is_interactive and call.terminal.choose("Replace it? [y/N]").lower() in ("y", "yes")

    outcome = install(
        Kind(kind) if kind else None,
        print_only=print_only,
        start=not no_start,
        run_as=run_as,
        encrypted=encrypted_key,
        force=force,
        config=call.config_file,
        confirm=confirm,
    )
    if print_only:
        click.echo(outcome.text, nl=False)
    for message in outcome.messages:
        call.terminal.say(message)


@click.command(
    "uninstall-service",
    cls=Subcommand,
    examples=["sudo ioconnect uninstall-service", "ioconnect uninstall-service --kind cron"],
)
@click.option("--kind", type=KIND, help=HELP_KIND)
@click.option("--run-as", metavar="USER", help="cron: whose crontab it is in.")
@click.pass_obj
def uninstall_service(call: Call, kind: str | None, run_as: str | None) -> None:
    """Stop the service and remove what install-service wrote.

    The configuration, the identity and the pins stay.
    """
    from ioconnect.installers.install import uninstall  # noqa: PLC0415

    for message in uninstall(Kind(kind) if kind else None, run_as=run_as).messages:
        call.terminal.say(message)
