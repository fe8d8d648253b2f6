"""`status`: observe, show in the form that was asked for, and leave with the verdict."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime, timezone
from enum import Enum
from typing import TYPE_CHECKING

from ioconnect.config.paths import SITE_STATUS
from ioconnect.console.terminal import answer, is_colourful
from ioconnect.errors import ConfigInvalid, Fault
from ioconnect.status import render, snapshots
from ioconnect.status.observe import observe

if TYPE_CHECKING:
    from ioconnect.config.configuration import Tunnel
    from ioconnect.console.invocation import Call
    from ioconnect.errors import ExitCode
    from ioconnect.status.snapshots import Snapshot


class Form(Enum):
    """How a status is shown."""

    TABLE = "table"
    JSON = "json"
    NOTHING = "nothing"


def report(call: Call, form: Form) -> ExitCode:
    """Show what the agent does now and return the verdict on it. Raises StatusDamaged, SystemRefused."""
    if form is Form.NOTHING:
        try:
            return snapshots.exit_code(observed(call, (), say=False))
        except Fault as fault:
            return fault.exit_code  # not a word was asked for
    snapshot = observed(call, configured(call), say=True)
    if form is Form.JSON:
        answer(json.dumps(snapshots.to_json(snapshot), indent=2))
    else:
        _show(snapshot)
    return snapshots.exit_code(snapshot)


def observed(call: Call, tunnels: tuple[Tunnel, ...], *, say: bool) -> Snapshot:
    """Return what the agent does; the machine's own where that is what is meant, and whose it is said."""
    snapshot = observe(call.paths, tunnels)
    if snapshot.running or not SITE_STATUS.exists():
        return snapshot
    from ioconnect.installers.service_manager import machines_agent  # noqa: PLC0415  asks systemd

    other = machines_agent(call.paths, os.environ)
    if other is None:
        return snapshot
    if say:
        call.terminal.say(f"This is {other.whose}.")
    return other.snapshot


def configured(call: Call) -> tuple[Tunnel, ...]:
    """Return the configured tunnels; none, with a warning, while the configuration has a fault."""
    try:
        return call.config.tunnels
    except ConfigInvalid as fault:
        if not isinstance(fault.__cause__, FileNotFoundError):  # nothing set up yet is not worth a word here
            call.terminal.warn(fault)
        return ()


def _show(snapshot: Snapshot) -> None:
    now = datetime.now(timezone.utc)
    if not is_colourful(sys.stdout, os.environ):
        answer(render.plain(snapshot, now))
        return
    from rich.console import Console  # noqa: PLC0415  heavy, and only a terminal needs it

    console = Console(file=sys.stdout)
    console.print(render.rich_table(snapshot, now, console.width))
