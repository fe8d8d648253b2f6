"""`ioconnect test`: try one tunnel's whole path, a line a check; exits with the first failure's code, or `up`'s."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

from ioconnect.checks.results import CheckStatus, to_json
from ioconnect.checks.show import Progress
from ioconnect.console.command_group import command, name_argument
from ioconnect.console.terminal import answer

if TYPE_CHECKING:
    from ioconnect.checks.results import Report
    from ioconnect.console.invocation import Invocation
    from ioconnect.errors import ExitCode


@command("test", examples=["ioconnect test", "ioconnect test orders --json | jq .checks"])
@name_argument
@click.option("--json", "as_json", is_flag=True, help="The same as JSON, schema 1.")
@click.pass_obj
def test(invocation: Invocation, name: str | None, *, as_json: bool) -> ExitCode:
    """Try the whole path once, from the database to the port on the jumphost, and say what fails and why.

    Asks the database for its first words only, without credentials. Leaves nothing open. Beside a running agent it
    reads the agent's state. The exit code is the first failed check's, else that with which `up` would be refused.
    """
    return check_tunnel(invocation, name, as_json=as_json).exit_code


def check_tunnel(invocation: Invocation, name: str | None, *, as_json: bool, run_as: int | None = None) -> Report:
    """Check the tunnel that `name` selects, and show it. Raises UsageFault if it selects none or several.

    `run_as` is the uid of the account that is to run it, if that is not this user's.
    """
    from ioconnect.checks.runner import run_checks  # noqa: PLC0415  brings paramiko

    with Progress(silent=as_json) as progress:
        report = run_checks(name, invocation.paths, os.environ, progress, run_as=run_as)
    if as_json:
        answer(json.dumps(to_json(report.checks, ok=report.ok), indent=2))
    else:
        invocation.terminal.say(summary(report))
    return report


def summary(report: Report) -> str:
    """Return the line that follows the checks."""
    failures = [check.id.value for check in report.checks if check.status is CheckStatus.FAIL]
    if failures:
        return f"Failed: {', '.join(failures)}."
    warned = [check.id.value for check in report.checks if check.status is CheckStatus.WARN]
    if not report.ok:
        refused = [check.id.value for check in report.checks if check.status is CheckStatus.WARN and check.exit_code]
        return f"The tunnel works, but `ioconnect up` would be refused: {', '.join(refused)}."
    return f"All works; look at: {', '.join(warned)}." if warned else "All well."
