"""What doctor looks at beside the tunnels, and how it is written down.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ioconnect.checks.results import CheckStatus, to_json
from ioconnect.errors import ExitCode

if TYPE_CHECKING:
    from ioconnect.checks.results import Report

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing about this machine; a warning never makes the command fail."""

    name: str
    status: CheckStatus
    detail: str
    hint: str = ""


def fine(name: str, detail: str) -> Fact:
    """Return a fact that needs nobody's attention."""
    return Fact(name, CheckStatus.PASS, detail)


def odd(name: str, detail: str, hint: str) -> Fact:
    """Return a fact that somebody should look at."""
    return Fact(name, CheckStatus.WARN, detail, hint)


def moot(name: str, detail: str) -> Fact:
    """Return a fact that does not apply here, or cannot be told."""
    return Fact(name, CheckStatus.SKIP, detail)


@dataclass(frozen=True, slots=True)
class Examination:
    """The whole: this machine, and each tunnel by name ("" if there is none to name)."""

    machine: tuple[Fact, ...]
    tunnels: tuple[tuple[str, Report], ...]

    @property
    def exit_code(self) -> ExitCode:
        """The first failed check's."""
        codes = (outcome.exit_code for _, outcome in self.tunnels)
        return next((code for code in codes if code is not ExitCode.OK), ExitCode.OK)

    def to_json(self) -> dict[str, Any]:
        """Return schema 1 of `doctor --json`; a tunnel's part is what `test --json` shows, and its name."""
        machine = [
            {"id": fact.name, "status": fact.status.value, "detail": fact.detail, "hint": fact.hint or None}
            for fact in self.machine
        ]
        tunnels = [{"name": name or None, **to_json(outcome.checks, ok=outcome.ok)} for name, outcome in self.tunnels]
        return {"schema": SCHEMA, "machine": machine, "tunnels": tunnels, "ok": self.exit_code is ExitCode.OK}
