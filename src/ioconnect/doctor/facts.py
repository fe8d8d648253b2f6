"""The records of doctor's report, and its JSON.

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
    """A fact about this machine; a warning does not change the exit code."""

    name: str
    status: CheckStatus
    detail: str
    hint: str = ""


def passed(name: str, detail: str) -> Fact:
    """Return a fact that needs no attention."""
    return Fact(name, CheckStatus.PASS, detail)


def warning(name: str, detail: str, hint: str) -> Fact:
    """Return a fact that needs attention."""
    return Fact(name, CheckStatus.WARN, detail, hint)


def skipped(name: str, detail: str) -> Fact:
    """Return a fact that does not apply here or is unknown."""
    return Fact(name, CheckStatus.SKIP, detail)


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """The facts about this machine, and the checks of each tunnel by name ("" without one)."""

    machine: tuple[Fact, ...]
    tunnels: tuple[tuple[str, Report], ...]

    @property
    def exit_code(self) -> ExitCode:
        """The first exit code of a tunnel's checks that is not OK."""
        codes = (outcome.exit_code for _, outcome in self.tunnels)
        return next((code for code in codes if code is not ExitCode.OK), ExitCode.OK)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document of `doctor --json`, schema 1; a tunnel's part is its name and `test --json`."""
        machine = [
            {"id": fact.name, "status": fact.status.value, "detail": fact.detail, "hint": fact.hint or None}
            for fact in self.machine
        ]
        tunnels = [{"name": name or None, **to_json(outcome.checks, ok=outcome.ok)} for name, outcome in self.tunnels]
        return {"schema": SCHEMA, "machine": machine, "tunnels": tunnels, "ok": self.exit_code is ExitCode.OK}
