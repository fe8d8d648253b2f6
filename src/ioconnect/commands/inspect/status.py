"""`ioconnect status`: what every tunnel does now, as a table, as JSON or as the exit code alone."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import click

from ioconnect.config.paths import SITE_STATUS
from ioconnect.console.command_group import command, names_argument
from ioconnect.console.selection import check_known
from ioconnect.console.terminal import answer, is_colourful
from ioconnect.errors import ConfigInvalid, ExitCode, Fault
from ioconnect.status import details, hints, render, snapshots
from ioconnect.status.observe import has_other_config, observe, stopped
from ioconnect.status.records import is_well

if TYPE_CHECKING:
    from ioconnect.config.configuration import Tunnel
    from ioconnect.console.invocation import Invocation
    from ioconnect.status.render import Line
    from ioconnect.status.snapshots import Snapshot


@command(
    "status",
    examples=[
        "ioconnect status --watch",
        "ioconnect status --problems",
        "ioconnect status orders",
        "ioconnect status --json | jq '.tunnels[].state'",
        "ioconnect status --check",
    ],
)
@names_argument
@click.option("--json", "as_json", is_flag=True, help="The same as JSON, schema 1.")
@click.option("--watch", "keep_watching", is_flag=True, help="Go on showing it, until q or Ctrl-C.")
@click.option("--check", is_flag=True, help="No output, only the exit code.")
@click.option("--problems", is_flag=True, help="Only the tunnels that are not well.")
@click.pass_obj
def status(
    invocation: Invocation, names: tuple[str, ...], *, as_json: bool, keep_watching: bool, check: bool, problems: bool
) -> ExitCode:
    """Show what every tunnel does now, and why.

    The worst is first; with names the details of those. The agent itself is asked: an answer is never an old one.
    Leaves with 0 if all are connected (or in a standby that is configured) and no database refuses, 75 if the agent
    runs but one is not, 69 if no agent runs or it does not answer.
    """
    if as_json + keep_watching + check > 1:
        raise click.UsageError("--json, --watch and --check exclude each other")
    view = _View(invocation, names, problems=problems)
    if check:
        return view.exit_code_alone()
    snapshot = view.observed(say=True)
    if keep_watching:
        from ioconnect.commands.inspect.watch import watch  # noqa: PLC0415  a plain status draws nothing

        return watch(snapshot, lambda: view.observed(say=False), view.head, view.body)
    if as_json:
        answer(json.dumps(view.document(snapshot), indent=2))
    else:
        view.show(snapshot)
    return snapshots.exit_code(snapshot)


class _View:
    """One invocation's view of the agent: which tunnels, and in which form."""

    def __init__(self, invocation: Invocation, names: tuple[str, ...], *, problems: bool) -> None:
        self._invocation = invocation
        self._names = tuple(dict.fromkeys(names))
        self._problems = problems
        self._start = hints.START
        self._tunnels: tuple[Tunnel, ...] | None = None

    def exit_code_alone(self) -> ExitCode:
        """Return the exit code, also that of a fault: no output was asked for."""
        try:
            return snapshots.exit_code(self.observed(say=False))
        except Fault as fault:
            return fault.exit_code

    def observed(self, *, say: bool) -> Snapshot:
        """Return the status of this user's agent, or that of the machine's service where that is meant.

        With `say` the terminal is told whose it is. Raises StatusDamaged, SystemRefused; UsageFault for a name that
        neither the agent nor the configuration knows.
        """
        invocation = self._invocation
        snapshot = observe(invocation.paths, self._configured)
        if not snapshot.running:
            snapshot = self._other(say=say) or self._with_start(snapshot)
        return self._named(snapshot)

    def document(self, snapshot: Snapshot) -> dict[str, Any]:
        """Return the snapshot as JSON."""
        shown = [tunnel for tunnel in snapshot.tunnels if not self._problems or not is_well(tunnel)]
        return snapshots.answer_to_json(replace(snapshot, tunnels=tuple(shown)))

    def show(self, snapshot: Snapshot) -> None:
        """Print the status as text."""
        now, width = datetime.now(timezone.utc), shutil.get_terminal_size().columns
        lines = [*self.head(snapshot, now, width), *self.body(snapshot, now, width)]
        if not is_colourful(sys.stdout, os.environ):
            answer(render.plain(lines))
            return
        from rich.console import Console  # noqa: PLC0415  heavy, and only a terminal needs it

        console = Console(file=sys.stdout, width=width)
        for line in render.styled(lines):
            console.print(line, soft_wrap=True)

    def head(self, snapshot: Snapshot, now: datetime, width: int) -> list[Line]:
        """Return the lines about the agent and the summary."""
        named = self._invocation.named_config
        meant = named if named is not None and has_other_config(snapshot, named) else None
        return render.head(snapshot, now, width, start=self._start, meant=meant)

    def body(self, snapshot: Snapshot, now: datetime, width: int) -> list[Line]:
        """Return the table and its notes, or the details of the named tunnels."""
        shown = [tunnel for tunnel in snapshot.tunnels if not self._problems or not is_well(tunnel)]
        return (details.details if self._names else render.body)(shown, now, width)

    def _configured(self) -> tuple[Tunnel, ...]:
        """Return the configured tunnels; none, with one warning, while the configuration has a fault."""
        if self._tunnels is None:
            try:
                self._tunnels = self._invocation.config.tunnels
            except ConfigInvalid as fault:
                if not isinstance(fault.__cause__, FileNotFoundError):  # nothing set up yet is no fault here
                    self._invocation.terminal.warn(fault)
                self._tunnels = ()
        return self._tunnels

    def _other(self, *, say: bool) -> Snapshot | None:
        """Return the status of the machine's service, if that is what this user means."""
        if os.geteuid() != 0 and not SITE_STATUS.parent.is_dir():  # it is there while systemd's service runs
            return None
        from ioconnect.installers.installed import machines_agent  # noqa: PLC0415  asks systemd

        other = machines_agent(self._invocation.paths, os.environ)
        if other is None:
            return None
        if say:
            self._invocation.terminal.say(f"This is {other.description}.")
        return other.snapshot

    def _with_start(self, snapshot: Snapshot) -> Snapshot:
        """Return the snapshot with hints that start the installed service, if there is one."""
        from ioconnect.installers.installed import start_hint  # noqa: PLC0415  only if no agent runs

        hint = start_hint(self._invocation.paths, os.environ)
        if hint is None:
            return snapshot
        self._start = hint
        tunnels = (
            replace(tunnel, reason=replace(tunnel.reason, hint=hints.sentence(hint)))
            if tunnel.reason is not None and tunnel.reason.hint == hints.sentence(hints.START)
            else tunnel
            for tunnel in snapshot.tunnels
        )
        return replace(snapshot, tunnels=tuple(tunnels))

    def _named(self, snapshot: Snapshot) -> Snapshot:
        """Return the snapshot of the named tunnels only; those that the agent does not have are stopped."""
        if not self._names:
            return snapshot
        known = {tunnel.name: tunnel for tunnel in snapshot.tunnels}
        if not set(self._names) <= known.keys():
            known = {**stopped(self._configured(), snapshot, self._invocation.paths.config), **known}
        check_known(self._names, list(known))
        return replace(snapshot, tunnels=tuple(known[name] for name in self._names))
