"""The command line of `ioconnect test`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ioconnect.console.command_group import Subcommand, name_argument

if TYPE_CHECKING:
    from ioconnect.console.invocation import Call
    from ioconnect.errors import ExitCode


@click.command("test", cls=Subcommand, examples=["ioconnect test", "ioconnect test orders --json | jq .checks"])
@name_argument
@click.option("--json", "as_json", is_flag=True, help="The same as JSON, schema 1.")
@click.pass_obj
def test(call: Call, name: str | None, *, as_json: bool) -> ExitCode:
    """Try the whole path once, from the database to the port on the jumphost, and say what fails and why.

    Asks the database for its first words only, without credentials. Leaves nothing open. Beside a running agent it
    reads the agent's state. The exit code is the first failed check's.
    """
    from ioconnect.commands.inspect.test import test  # noqa: PLC0415

    return test(call, name, as_json=as_json)
