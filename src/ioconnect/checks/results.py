"""The results of the checks, their dependencies, and the report of a run.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from ioconnect.errors import ExitCode, Fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ioconnect.errors import Reason, ReasonCode

SCHEMA = 1


class CheckId(str, Enum):
    """The checks in their order."""

    CONFIG = "config"
    IDENTITY = "identity"
    TARGET = "target"
    DNS = "dns"
    TCP = "tcp"
    HOST_KEY = "host_key"
    AUTH = "auth"
    FORWARD = "forward"


class CheckStatus(str, Enum):
    """The status of a check."""

    PASS = "pass"  # noqa: S105  no password
    WARN = "warn"  # works, but needs attention
    FAIL = "fail"
    SKIP = "skip"  # a check that it depends on has failed


# The checks that must not have failed before a check: the jumphost's do not depend on the database's.
DEPENDENCIES: dict[CheckId, tuple[CheckId, ...]] = {
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
    """The result of a check that did not fail; text from remote hosts in it is escaped.

    `exit_code`: of what keeps the agent from starting, and no check from being tried.
    """

    detail: str
    hint: str = ""
    warning: bool = False
    exit_code: ExitCode = ExitCode.OK


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A finished check; `ms` is its duration in milliseconds, `reason` and `exit_code` are set if it failed.

    `exit_code` alone is set if the agent would not start.
    """

    id: CheckId
    status: CheckStatus
    detail: str
    reason: ReasonCode | None = None
    hint: str = ""
    ms: float = 0.0
    exit_code: ExitCode = ExitCode.OK


@dataclass(frozen=True, slots=True)
class Report:
    """The results of one run of the checks."""

    checks: tuple[CheckResult, ...]

    @property
    def ok(self) -> bool:
        """Whether no check failed, and the agent would start."""
        return self.exit_code is ExitCode.OK

    @property
    def works(self) -> bool:
        """Whether no check failed."""
        return all(check.status is not CheckStatus.FAIL for check in self.checks)

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the first failed check, else that with which `up` would be refused."""
        codes = {check.status: check.exit_code for check in reversed(self.checks) if check.exit_code}
        return codes.get(CheckStatus.FAIL) or codes.get(CheckStatus.WARN) or ExitCode.OK


def passed(name: CheckId, finding: Finding, ms: float) -> CheckResult:
    """Return the result of a check that did not fail."""
    status = CheckStatus.WARN if finding.warning else CheckStatus.PASS
    return CheckResult(name, status, finding.detail, hint=finding.hint, ms=ms, exit_code=finding.exit_code)


def pinned_host_key(fingerprint: str) -> Finding:
    """Return the finding for a host key that is pinned."""
    return Finding(f"{fingerprint} is the pinned host key")


def failed(name: CheckId, reason: Reason, ms: float, exit_code: ExitCode | None = None) -> CheckResult:
    """Return the result of a check that failed; without an exit code, with that of the reason's code."""
    code = exit_code_of(reason.code) if exit_code is None else exit_code
    return CheckResult(name, CheckStatus.FAIL, reason.message, reason.code, reason.hint, ms=ms, exit_code=code)


def skipped(name: CheckId, because: CheckId) -> CheckResult:
    """Return the result of a check that was skipped."""
    return CheckResult(name, CheckStatus.SKIP, f"not tried: {because.value} comes first")


def failed_dependency(name: CheckId, checks: Iterable[CheckResult]) -> CheckId | None:
    """Return the failed or skipped check that this one depends on; None if it can run."""
    missing = {check.id for check in checks if check.status in (CheckStatus.FAIL, CheckStatus.SKIP)}
    return next((needed for needed in DEPENDENCIES[name] if needed in missing), None)


def to_json(checks: Sequence[CheckResult], *, ok: bool) -> dict[str, Any]:
    """Return the JSON document of `test --json`, schema 1."""
    return {"schema": SCHEMA, "checks": [_check_to_json(check) for check in checks], "ok": ok}


def _check_to_json(check: CheckResult) -> dict[str, Any]:
    return {
        "id": check.id.value,
        "status": check.status.value,
        "detail": check.detail,
        "reason": check.reason and check.reason.value,
        "hint": check.hint or None,
        "ms": round(check.ms, 1),
    }


def exit_code_of(code: ReasonCode) -> ExitCode:
    """Return the exit code of the fault class with this reason code."""
    return next(fault.exit_code for fault in Fault.__subclasses__() if fault.code is code)
