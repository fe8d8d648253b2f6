"""`ioconnect test`: runs the checks, shows their results, exits with the first failed check's code."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from ioconnect.checks.results import CheckStatus, to_json
from ioconnect.checks.runner import run_checks
from ioconnect.checks.show import Progress
from ioconnect.console.terminal import answer

if TYPE_CHECKING:
    from ioconnect.checks.results import Report
    from ioconnect.console.invocation import Call
    from ioconnect.errors import ExitCode


def test(call: Call, name: str | None, *, as_json: bool) -> ExitCode:
    """Check the tunnel that `name` means. Raises UsageFault if it means none or several."""
    with Progress(silent=as_json) as progress:
        report = run_checks(name, call.paths, os.environ, progress)
    if as_json:
        answer(json.dumps(to_json(report.checks, ok=report.ok), indent=2))
    else:
        call.terminal.say(summary(report))
    return report.exit_code


def summary(report: Report) -> str:
    """Return the last line."""
    failures = [check.id.value for check in report.checks if check.status is CheckStatus.FAIL]
    if failures:
        return f"Failed: {', '.join(failures)}."
    warned = [check.id.value for check in report.checks if check.status is CheckStatus.WARN]
    return f"All works; look at: {', '.join(warned)}." if warned else "All well."
