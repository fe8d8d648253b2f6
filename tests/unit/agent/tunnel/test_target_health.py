"""What connections say about the target: the state, since when, how many failed, and when to probe."""

from __future__ import annotations

import errno

import pytest

from ioconnect.agent.tunnel.target_health import (
    FIRST_PROBE,
    LONGEST_WAIT,
    Outage,
    TargetHealth,
    answered,
    probe_delay,
    probe_refused,
    reason_for,
    refused,
)
from ioconnect.config.addresses import HostPort, SocketPath
from ioconnect.errors import Reason, ReasonCode
from ioconnect.status.records import Availability

TARGET = HostPort("db.test", 3306)
REASON = reason_for(TARGET, "10.0.0.1: Connection refused", {errno.ECONNREFUSED})
UNKNOWN = TargetHealth(1.0, 1001.0)
UP = answered(UNKNOWN, 2.0, 1002.0)
DOWN = refused(UP, REASON, 3.0, 1003.0)


def test_a_target_is_unknown_until_the_first_connection() -> None:
    assert (UNKNOWN.state, UNKNOWN.failed, UNKNOWN.reason) == (Availability.UNKNOWN, 0, None)


def test_the_first_connection_decides() -> None:
    assert (UP.state, UP.since, UP.since_wall, UP.failed) == (Availability.UP, 2.0, 1002.0, 0)
    assert refused(UNKNOWN, REASON, 2.0, 1002.0).state is Availability.DOWN


def test_each_further_success_costs_nothing() -> None:
    assert answered(UP, 9.0, 1009.0) is UP


def test_failures_count_from_the_one_that_made_it_down() -> None:
    health = DOWN
    for second in range(4, 7):
        health = refused(health, REASON, float(second), 1000.0 + second)

    assert (health.state, health.since, health.since_wall, health.failed) == (Availability.DOWN, 3.0, 1003.0, 4)
    assert health.reason == REASON


def test_a_success_ends_the_outage() -> None:
    health = answered(refused(DOWN, REASON, 4.0, 1004.0), 15.0, 1015.0)

    assert health == TargetHealth(15.0, 1015.0, Availability.UP, outage=Outage(12.0, 2))
    assert refused(health, REASON, 20.0, 1020.0).failed == 1


def test_a_probe_that_fails_is_no_failed_connection() -> None:
    other = Reason(ReasonCode.TARGET_UNREACHABLE, "another", "")
    health = probe_refused(DOWN, other)

    assert (health.state, health.failed, health.reason, health.since) == (Availability.DOWN, 1, other, 3.0)
    assert probe_refused(UP, other) is UP


def test_probes_become_rarer() -> None:
    waits = [probe_delay(failed) for failed in range(1000)]

    assert waits[0] == FIRST_PROBE == 5.0
    assert waits == sorted(waits)
    assert waits[-1] == max(waits) == LONGEST_WAIT == 30.0


@pytest.mark.parametrize(
    ("why", "codes", "advice"),
    [
        ("10.0.0.1: Connection refused", {errno.ECONNREFUSED, errno.EINVAL}, "Start it"),
        ("10.0.0.1: no answer in 10 s", {errno.ETIMEDOUT}, "allow TCP to port 3306"),
        ("10.0.0.1: No route to host", {errno.EHOSTUNREACH}, "no route leads there"),
        ("10.0.0.1: Operation not permitted", {errno.EPERM}, "SELinux"),
        ("10.0.0.1: Too many open files", {errno.EMFILE}, "LimitNOFILE"),
        ("its name does not resolve", set(), "name servers"),
    ],
)
def test_the_reason_names_address_and_error_and_says_what_to_do(why: str, codes: set[int], advice: str) -> None:
    reason = reason_for(TARGET, why, codes)

    assert reason.code is ReasonCode.TARGET_UNREACHABLE
    assert reason.message == f"cannot connect to db.test:3306: {why}"
    assert advice in reason.hint


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOENT, "unix_socket_directories"),
        (errno.EACCES, "account that runs the agent"),
        (errno.ECONNREFUSED, "Nothing listens on it"),
        (errno.EAGAIN, "queue"),
        (errno.EPROTOTYPE, "another type"),
    ],
)
def test_a_socket_that_takes_no_connection_says_what_to_do(code: int, said: str) -> None:
    reason = reason_for(SocketPath("/run/db.sock"), "/run/db.sock: no", {code})

    assert reason.message == "cannot connect to unix:/run/db.sock: /run/db.sock: no"
    assert said in reason.hint
