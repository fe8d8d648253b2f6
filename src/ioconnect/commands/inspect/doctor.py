"""`ioconnect doctor`: examine, show, and put it all in an archive if asked to."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from ioconnect.checks.show import Line, Progress, show
from ioconnect.console.terminal import answer
from ioconnect.doctor import bundle as archive
from ioconnect.doctor.examine import examine

if TYPE_CHECKING:
    from pathlib import Path

    from ioconnect.console.invocation import Call
    from ioconnect.doctor.facts import Fact
    from ioconnect.errors import ExitCode


def doctor(call: Call, *, as_json: bool, bundle: Path | None) -> ExitCode:
    """Examine this machine and every tunnel. Raises CannotCreate if the archive cannot be written."""
    with _Round(silent=as_json) as audience:
        examination = examine(call.paths, os.environ, audience)
    if as_json:
        answer(json.dumps(examination.to_json(), indent=2))
    if bundle is not None:
        archive.write(bundle, examination, call.paths, os.environ)
        call.terminal.say(f"Wrote {bundle}: without keys, tokens and passwords, but look into it before you send it.")
    return examination.exit_code


class _Round(Progress):
    """Shows the machine's facts and the tunnels' checks as they come."""

    def looking_at(self, what: str) -> None:
        """Turn the spinner."""
        self.spin(what)

    def learned(self, fact: Fact) -> None:
        """Show the fact."""
        self.stop()
        if not self.silent:
            show(Line(fact.name, fact.status, fact.detail, None, fact.hint))

    def turning_to(self, tunnel: str) -> None:
        """Show whose checks follow."""
        self.stop()
        if not self.silent:
            answer(f"\ntunnel {tunnel}" if tunnel else "\nno tunnel")
