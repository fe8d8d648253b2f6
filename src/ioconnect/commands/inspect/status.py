"""`ioconnect status`: what every tunnel does now, as a table, as JSON or as the exit code alone."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import click

from ioconnect.config.paths import SITE_STATUS
from ioconnect.console.command_group import command
from ioconnect.console.terminal import answer, is_colourful
from ioconnect.errors import ConfigInvalid, ExitCode, Fault
from ioconnect.status import render, snapshots
from ioconnect.status.observe import observe

if TYPE_CHECKING:
    from ioconnect.config.configuration import Tunnel
    from ioconnect.console.invocation import Invocation
    from ioconnect.status.snapshots import Snapshot


@command(
    "status",
    examples=[
        "ioconnect status --watch",
        "ioconnect status --json | jq '.tunnels[].state'",
        "ioconnect status --check",
    ],
)
@click.option("--json", "as_json", is_flag=True, help="The same as JSON, schema 1.")
@click.option("--watch", "keep_watching", is_flag=True, help="Go on showing it, until q or Ctrl-C.")
@click.option("--check", is_flag=True, help="No output, only the exit code.")
@click.pass_obj
def status(invocation: Invocation, *, as_json: bool, keep_watching: bool, check: bool) -> ExitCode:
    """Show what every tunnel does now, and why.

    Leaves with 0 if all are connected, 75 if the agent runs but one is not, 69 if no agent runs.
    """
    if as_json + keep_watching + check > 1:
        raise click.UsageError("--json, --watch and --check exclude each other")
    if check:
        return _exit_code_alone(invocation)
    tunnels = _configured(invocation)
    snapshot = _observed(invocation, tunnels, say=True)
    if keep_watching:
        from ioconnect.commands.inspect.watch import watch  # noqa: PLC0415  a plain status draws nothing

        return watch(snapshot, lambda: _observed(invocation, tunnels, say=False))
    if as_json:
        answer(json.dumps(snapshots.to_json(snapshot), indent=2))
    else:
        _show(snapshot)
    return snapshots.exit_code(snapshot)


def _exit_code_alone(invocation: Invocation) -> ExitCode:
    try:
        return snapshots.exit_code(_observed(invocation, (), say=False))
    except Fault as fault:
        return fault.exit_code  # no output was asked for


def _observed(invocation: Invocation, tunnels: tuple[Tunnel, ...], *, say: bool) -> Snapshot:
    """Return the status of this user's agent, or that of the machine's service where that is meant.

    With `say` the terminal is told whose it is. Raises StatusDamaged, SystemRefused.
    """
    snapshot = observe(invocation.paths, tunnels)
    if snapshot.running or not SITE_STATUS.exists():
        return snapshot
    from ioconnect.installers.service_manager import system_agent  # noqa: PLC0415  asks systemd

    other = system_agent(invocation.paths, os.environ)
    if other is None:
        return snapshot
    if say:
        invocation.terminal.say(f"This is {other.description}.")
    return other.snapshot


def _configured(invocation: Invocation) -> tuple[Tunnel, ...]:
    """Return the configured tunnels; none, with a warning, while the configuration has a fault."""
    try:
        return invocation.config.tunnels
    except ConfigInvalid as fault:
        if not isinstance(fault.__cause__, FileNotFoundError):  # nothing set up yet is no fault here
            invocation.terminal.warn(fault)
        return ()


def _show(snapshot: Snapshot) -> None:
    now = datetime.now(timezone.utc)
    if not is_colourful(sys.stdout, os.environ):
        answer(render.plain(snapshot, now))
        return
    from rich.console import Console  # noqa: PLC0415  heavy, and only a terminal needs it

    console = Console(file=sys.stdout)
    console.print(render.rich_table(snapshot, now, console.width))
