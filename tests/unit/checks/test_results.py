"""Results of checks: which are skipped, the exit code, the JSON; and the outcomes of an agent's status."""

from __future__ import annotations

import pytest

from ioconnect.checks.agent_state import is_active, is_settled, outcomes
from ioconnect.checks.results import (
    DEPENDENCIES,
    CheckId,
    CheckResult,
    CheckStatus,
    Finding,
    Report,
    failed,
    failed_dependency,
    passed,
    skipped,
    to_json,
)
from ioconnect.checks.show import Line, plain
from ioconnect.commands.inspect.test import summary
from ioconnect.console.guide import GUIDE
from ioconnect.errors import ExitCode, Reason, ReasonCode
from ioconnect.status.snapshots import State, TunnelStatus

BROKEN = Reason(ReasonCode.TARGET_UNREACHABLE, "nothing listens", "Start it.")


def results_of(*failing: CheckId) -> list[CheckResult]:
    """Return the results of a run in which these checks fail."""
    checks: list[CheckResult] = []
    for name in CheckId:
        blocked = failed_dependency(name, checks)
        if blocked is not None:
            checks.append(skipped(name, blocked))
        elif name in failing:
            checks.append(failed(name, BROKEN, 1.0))
        else:
            checks.append(passed(name, Finding("fine"), 1.0))
    return checks


@pytest.mark.parametrize(
    ("failing", "left_out"),
    [
        (CheckId.CONFIG, set(CheckId) - {CheckId.CONFIG}),
        (CheckId.IDENTITY, {CheckId.AUTH, CheckId.FORWARD}),
        (CheckId.TARGET, set()),
        (CheckId.DNS, {CheckId.TCP, CheckId.HOST_KEY, CheckId.AUTH, CheckId.FORWARD}),
        (CheckId.TCP, {CheckId.HOST_KEY, CheckId.AUTH, CheckId.FORWARD}),
        (CheckId.HOST_KEY, {CheckId.AUTH, CheckId.FORWARD}),
        (CheckId.AUTH, {CheckId.FORWARD}),
        (CheckId.FORWARD, set()),
    ],
)
def test_a_failed_check_skips_only_what_depends_on_it(failing: CheckId, left_out: set[CheckId]) -> None:
    checks = results_of(failing)

    assert {check.id for check in checks if check.status is CheckStatus.SKIP} == left_out
    assert [check.id for check in checks if check.status is CheckStatus.FAIL] == [failing]


def test_every_check_comes_after_what_it_needs() -> None:
    order = list(CheckId)

    assert list(DEPENDENCIES) == order
    assert all(
        order.index(needed) < order.index(name) for name, all_needed in DEPENDENCIES.items() for needed in all_needed
    )


def test_the_exit_code_is_the_first_failures() -> None:
    refused = failed(CheckId.AUTH, Reason(ReasonCode.AUTH_REFUSED, "no", "ask"), 1.0)
    down = failed(CheckId.TARGET, BROKEN, 1.0)

    assert Report((down, refused)).exit_code is ExitCode.UNAVAILABLE
    assert Report((refused, down)).exit_code is ExitCode.NO_PERMISSION
    assert Report(tuple(results_of())).ok


def test_a_warning_is_no_failure() -> None:
    report = Report((passed(CheckId.TARGET, Finding("no TLS", "Turn it on.", warning=True), 1.0),))

    assert report.ok
    assert summary(report) == "All works; look at: target."


def test_what_would_refuse_up_is_named_and_no_other_warning() -> None:
    refusing = passed(CheckId.CONFIG, Finding("root's", "Move it.", warning=True, exit_code=ExitCode.CONFIG), 1.0)
    report = Report((refusing, passed(CheckId.TARGET, Finding("no TLS", "Turn it on.", warning=True), 1.0)))

    assert summary(report) == "The tunnel works, but `ioconnect up` would be refused: config."


def test_the_json_of_a_failure_and_of_the_rest() -> None:
    shown = to_json(results_of(CheckId.FORWARD), ok=False)

    assert shown["schema"] == 1
    assert [check["id"] for check in shown["checks"]] == [
        *("config", "identity", "target", "dns", "tcp", "host_key", "auth", "forward")
    ]
    assert shown["checks"][0] == {
        "id": "config",
        "status": "pass",
        "detail": "fine",
        "reason": None,
        "hint": None,
        "ms": 1.0,
    }
    assert shown["checks"][-1] == {
        "id": "forward",
        "status": "fail",
        "detail": "nothing listens",
        "reason": "target_unreachable",
        "hint": "Start it.",
        "ms": 1.0,
    }


def test_a_line_is_escaped_and_ends_with_the_guides_anchor() -> None:
    check = failed(CheckId.TCP, Reason(ReasonCode.UNREACHABLE, "first\nsecond \x1b[2J", "Do \x07 it."), 250.0)

    assert plain(Line.of(check)).splitlines() == [
        f"fail  {'tcp':15} first",
        rf"{'':22}second \x1b[2J (unreachable), 0.2 s",
        rf"{'':22}hint: Do \x07 it. More: {GUIDE}#unreachable",
    ]


# --- an agent's state


def tunnel(state: State, code: ReasonCode | None = None, *, host_key: str | None = None) -> TunnelStatus:
    reason = None if code is None else Reason(code, "so it is", "Do this.")
    return TunnelStatus(
        "orders", state, "2026-11-22T10:00:00Z", reason, "jump:50683", 58115, "db:1", host_key=host_key
    )


def test_a_connected_agent_answers_everything_from_the_name_on() -> None:
    found = outcomes(tunnel(State.CONNECTED, host_key="SHA256:abc"), 4711)

    assert list(found) == list(CheckId)[3:]
    assert all(isinstance(answer, Finding) and not answer.warning for answer in found.values())
    assert found[CheckId.FORWARD] == Finding("Tunnel is open: the running agent (pid 4711) holds port 58115 on jump")


@pytest.mark.parametrize("code", ReasonCode)
@pytest.mark.parametrize("state", [State.BACKOFF, State.HELD, State.STANDBY])
def test_an_agent_that_is_not_connected_fails_one_check_of_the_signed_way(state: State, code: ReasonCode) -> None:
    """With its own reason; the way to the jumphost is tried anew if the agent may not have got there."""
    found = outcomes(tunnel(state, code), None)

    failing = [name for name, answer in found.items() if isinstance(answer, Reason)]
    first = CheckId.DNS if CheckId.TCP in found else CheckId.HOST_KEY
    assert len(failing) == 1
    assert list(found) == list(CheckId)[list(CheckId).index(first) : list(CheckId).index(failing[0]) + 1]
    reason = found[failing[0]]
    assert reason == Reason(code, "the running agent says: so it is", "Do this.")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (ReasonCode.HOST_KEY_CHANGED, CheckId.HOST_KEY),
        (ReasonCode.BANNER_TIMEOUT, CheckId.HOST_KEY),
        (ReasonCode.ALGORITHMS_MISMATCH, CheckId.HOST_KEY),
        (ReasonCode.KEX_TIMEOUT, CheckId.HOST_KEY),
        (ReasonCode.AUTH_REFUSED, CheckId.AUTH),
        (ReasonCode.SECOND_FACTOR, CheckId.AUTH),
        (ReasonCode.PORT_BUSY, CheckId.FORWARD),
        (ReasonCode.FORWARD_NOT_PERMITTED, CheckId.FORWARD),
    ],
)
def test_an_agents_reason_belongs_to_a_check(code: ReasonCode, expected: CheckId) -> None:
    assert isinstance(outcomes(tunnel(State.HELD, code), 1)[expected], Reason)


@pytest.mark.parametrize("code", ReasonCode)
def test_what_an_agent_got_from_the_jumphost_needs_no_connection(code: ReasonCode) -> None:
    """Each without a sign-in counts against this address (PerSourcePenalties), on which the agent depends."""
    reached = {
        *(ReasonCode.BANNER_TIMEOUT, ReasonCode.TOO_MANY_CONNECTIONS, ReasonCode.PENALIZED),
        *(ReasonCode.HOST_KEY_CHANGED, ReasonCode.ALGORITHMS_MISMATCH, ReasonCode.AUTH_REFUSED),
        *(ReasonCode.FORWARD_NOT_PERMITTED, ReasonCode.PORT_BUSY, ReasonCode.KEX_TIMEOUT, ReasonCode.SECOND_FACTOR),
    }

    assert ({CheckId.DNS, CheckId.TCP} <= set(outcomes(tunnel(State.HELD, code), 1))) is (code in reached)


def test_an_agent_in_the_middle_of_its_first_attempt_is_a_warning() -> None:
    found = outcomes(tunnel(State.CONNECTING), 1)

    assert all(isinstance(answer, Finding) and answer.warning for answer in found.values())
    assert not is_settled(tunnel(State.CONNECTING))


def test_a_stopped_tunnel_is_for_us_to_try() -> None:
    assert [state for state in State if not is_active(tunnel(state))] == [State.STOPPED]
