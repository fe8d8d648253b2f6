"""`ioconnect doctor`: examine this machine and every tunnel, and pack an archive for support if asked to."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ioconnect.checks.show import Line, Progress, show
from ioconnect.console.command_group import command
from ioconnect.console.terminal import answer

if TYPE_CHECKING:
    from ioconnect.console.invocation import Invocation
    from ioconnect.doctor.facts import Fact
    from ioconnect.errors import ExitCode


@command("doctor", examples=["ioconnect doctor", "ioconnect doctor --bundle support.tar.gz"])
@click.option(
    "--bundle",
    "archive",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write an archive for support, without keys, tokens and passwords.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as JSON, schema 1.")
@click.pass_obj
def doctor(invocation: Invocation, archive: Path | None, *, as_json: bool) -> ExitCode:
    """Look at this machine and try every tunnel.

    Service, files, clock, proxies, keyring and versions; then what `ioconnect test` checks, for each tunnel. The exit
    code is the first failed check's, else that with which `up` would be refused.
    """
    from ioconnect.doctor import bundle  # noqa: PLC0415
    from ioconnect.doctor.examine import examine  # noqa: PLC0415  brings paramiko

    paths = invocation.paths
    with _DoctorProgress(silent=as_json) as progress:
        report = examine(paths, os.environ, progress)
    if as_json:
        answer(json.dumps(report.to_json(), indent=2))
    if archive is not None:
        bundle.write(archive, report, paths, os.environ)
        invocation.terminal.say(
            f"Wrote {archive}: without keys, tokens and passwords, but look into it before you send it."
        )
    return report.exit_code


class _DoctorProgress(Progress):
    """Prints the machine's facts and the tunnels' checks as they come."""

    def fact_began(self, what: str) -> None:
        """Show the spinner for this part of the machine."""
        self.spin(what)

    def fact_done(self, fact: Fact) -> None:
        """Print the fact."""
        self.stop()
        if not self.silent:
            show(Line(fact.name, fact.status, fact.detail, None, fact.hint))

    def tunnel_began(self, tunnel: str) -> None:
        """Print whose checks follow."""
        self.stop()
        if not self.silent:
            answer(f"\ntunnel {tunnel}" if tunnel else "\nno tunnel")
