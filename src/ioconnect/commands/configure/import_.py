"""The command line of `ioconnect import`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from ioconnect.console.command_group import Subcommand

if TYPE_CHECKING:
    from ioconnect.console.invocation import Call


@click.command(
    "import",
    cls=Subcommand,
    examples=["ioconnect import --dry-run", "ioconnect import", "ioconnect import ~/tunnel.sh --yes"],
)
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(allow_dash=True))
@click.option("--dry-run", is_flag=True, help="Show what would be imported and write nothing.")
@click.option("--yes", is_flag=True, help="Import without asking; what starts the old tunnels stays as it is.")
@click.option(
    "--disable-old", is_flag=True, help="Disable what starts the old tunnels, and stop them, without asking."
)
@click.pass_obj
def import_(call: Call, /, files: tuple[str, ...], **options: bool) -> None:
    """Make tunnels of autossh and ssh lines that exist.

    Reads files (- is stdin), or looks in your crontab, the system's crontabs and the systemd units. Takes over their
    keys and host keys, and offers to disable them. Nothing is ever deleted.
    """
    from ioconnect.commands.configure import import_tunnels  # noqa: PLC0415
    from ioconnect.importing import search_paths  # noqa: PLC0415

    wish = import_tunnels.Wish(files, **options)
    import_tunnels.run(wish, search_paths.of_this_machine(os.environ), call.paths, call.terminal, os.environ)
