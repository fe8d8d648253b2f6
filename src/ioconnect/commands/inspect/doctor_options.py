"""The command line of `ioconnect doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ioconnect.console.command_group import Subcommand

if TYPE_CHECKING:
    from ioconnect.console.invocation import Call
    from ioconnect.errors import ExitCode


@click.command("doctor", cls=Subcommand, examples=["ioconnect doctor", "ioconnect doctor --bundle support.tar.gz"])
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write an archive for support, without keys, tokens and passwords.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as JSON, schema 1.")
@click.pass_obj
def doctor(call: Call, bundle: Path | None, *, as_json: bool) -> ExitCode:
    """Look at this machine and try every tunnel.

    Service, files, clock, proxies, keyring and versions; then what `ioconnect test` checks, for each tunnel. The exit
    code is the first failed check's.
    """
    from ioconnect.commands.inspect.doctor import doctor  # noqa: PLC0415

    return doctor(call, as_json=as_json, bundle=bundle)
