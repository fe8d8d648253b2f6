"""What a check found, which checks hang on which, and what a whole pass comes to.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from ioconnect.errors import ExitCode, exit_code_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ioconnect.errors import Reason, ReasonCode

SCHEMA = 1


class CheckId(str, Enum):
    """The rungs of the ladder, in their order."""

    CONFIG = "config"
    IDENTITY = "identity"
    TARGET = "target"
    DNS = "dns"
    TCP = "tcp"
    HOST_KEY = "host_key"
    AUTH = "auth"
    FORWARD = "forward"


class Verdict(str, Enum):
    """How a check ended."""

    PASS = "pass"  # noqa: S105  no password
    WARN = "warn"  # works, and somebody should look at it
    FAIL = "fail"
    SKIP = "skip"  # what it needs has failed


# What must not have failed for a check to make sense: a database that is down does not stop the jumphost's checks.
NEEDS: dict[CheckId, tuple[CheckId, ...]] = {
    CheckId.CONFIG: (),
    CheckId.IDENTITY: (CheckId.CONFIG,),
    CheckId.TARGET: (CheckId.CONFIG,),
    CheckId.DNS: (CheckId.CONFIG,),
    CheckId.TCP: (CheckId.DNS,),
    CheckId.HOST_KEY: (CheckId.TCP,),
    CheckId.AUTH: (CheckId.HOST_KEY, CheckId.IDENTITY),
    CheckId.FORWARD: (CheckId.AUTH,),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check that did not fail found out; remote text in it is escaped already."""

    detail: str
    hint: str = ""
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """One rung, done: `ms` is how long it took; `reason` and `exit_code` are set if it failed."""

    id: CheckId
    verdict: Verdict
    detail: str
    reason: ReasonCode | None = None
    hint: str = ""
    ms: float = 0.0
    exit_code: ExitCode = ExitCode.OK


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over the ladder."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return self.exit_code is ExitCode.OK

    @property
    def exit_code(self) -> ExitCode:
        """The first failed check's."""
        return next((check.exit_code for check in self.checks if check.verdict is Verdict.FAIL), ExitCode.OK)


def found(name: CheckId, finding: Finding, ms: float) -> Check:
    """Return a check that did not fail."""
    verdict = Verdict.WARN if finding.warning else Verdict.PASS
    return Check(name, verdict, finding.detail, hint=finding.hint, ms=ms)


def pinned(fingerprint: str) -> Finding:
    """Return what is to be said of a host key that was held against the pins."""
    return Finding(f"{fingerprint} is the pinned host key")


def failed(name: CheckId, reason: Reason, ms: float) -> Check:
    """Return a check that failed."""
    return Check(
        name, Verdict.FAIL, reason.message, reason.code, reason.hint, ms=ms, exit_code=exit_code_of(reason.code)
    )


def skipped(name: CheckId, because: CheckId) -> Check:
    """Return a check that was left out."""
    return Check(name, Verdict.SKIP, f"not tried: {because.value} comes first")


def obstacle(name: CheckId, checks: Iterable[Check]) -> CheckId | None:
    """Return the failed check that keeps this one from being tried, directly or through others; None: try it."""
    missing = {check.id for check in checks if check.verdict in (Verdict.FAIL, Verdict.SKIP)}
    return next((needed for needed in NEEDS[name] if needed in missing), None)


def to_json(checks: Sequence[Check], *, ok: bool) -> dict[str, Any]:
    """Return schema 1 of `test --json`."""
    return {"schema": SCHEMA, "checks": [_check_to_json(check) for check in checks], "ok": ok}


def _check_to_json(check: Check) -> dict[str, Any]:
    return {
        "id": check.id.value,
        "status": check.verdict.value,
        "detail": check.detail,
        "reason": check.reason and check.reason.value,
        "hint": check.hint or None,
        "ms": round(check.ms, 1),
    }
