"""`ioconnect test`: climb the ladder, show it, leave with the first failed check's code."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from ioconnect.checks.checks import climb
from ioconnect.checks.results import Verdict, to_json
from ioconnect.checks.show import Progress
from ioconnect.console.terminal import answer

if TYPE_CHECKING:
    from ioconnect.checks.results import Pass
    from ioconnect.console.invocation import Call
    from ioconnect.errors import ExitCode


def test(call: Call, name: str | None, *, as_json: bool) -> ExitCode:
    """Check the tunnel that `name` means. Raises UsageFault if it means none or several."""
    with Progress(silent=as_json) as progress:
        outcome = climb(name, call.paths, os.environ, progress)
    if as_json:
        answer(json.dumps(to_json(outcome.checks, ok=outcome.ok), indent=2))
    else:
        call.terminal.say(summary(outcome))
    return outcome.exit_code


def summary(outcome: Pass) -> str:
    """Return the last line."""
    failures = [check.id.value for check in outcome.checks if check.verdict is Verdict.FAIL]
    if failures:
        return f"Failed: {', '.join(failures)}."
    warned = [check.id.value for check in outcome.checks if check.verdict is Verdict.WARN]
    return f"All works; look at: {', '.join(warned)}." if warned else "All well."
