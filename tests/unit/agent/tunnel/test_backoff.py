"""How long each class of failure waits; the figures are promises to the jumphost and to the user."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioconnect.agent.tunnel.backoff import LONG_OUTAGE, delay, minimum_interval
from ioconnect.disposition import Disposition

LARGEST_RANDOM = 1.0 - 2**-53  # the greatest that random.random() returns

randoms = st.floats(0.0, LARGEST_RANDOM)
failures = st.integers(1, 10_000)
ages = st.floats(0.0, 1e7)


def longest(disposition: Disposition, count: int, age: float = 0.0) -> float:
    return delay(disposition, count, age, LARGEST_RANDOM)


def test_network_retries_double_to_five_seconds_then_after_five_minutes_to_fifteen() -> None:
    assert [longest(Disposition.RETRY, n) for n in (1, 2, 3, 4, 9)] == pytest.approx([1, 2, 4, 4.5, 4.5])
    assert longest(Disposition.RETRY, 50, LONG_OUTAGE - 1) == pytest.approx(4.5)
    assert longest(Disposition.RETRY, 50, LONG_OUTAGE) == pytest.approx(15)


@given(count=failures, age=ages)
def test_network_retries_have_full_jitter(count: int, age: float) -> None:
    """No part of the wait is fixed: agents that were cut off together come back one by one."""
    assert delay(Disposition.RETRY, count, age, 0.0) == 0.0
    assert delay(Disposition.RETRY, count, age, 0.5) == pytest.approx(longest(Disposition.RETRY, count, age) / 2)


@given(age=ages, random=randoms)
def test_a_first_loss_is_retried_within_a_second(age: float, random: float) -> None:
    assert 0.0 <= delay(Disposition.RETRY, 1, age, random) < 1.0


def test_an_end_in_mid_sign_in_is_tried_once_soon_and_then_as_a_refusal() -> None:
    """OpenSSH 9.8 on: PerSourcePenalties begins to refuse at 15 s, and an end after the key counts 5."""
    assert [delay(Disposition.SIGN_IN_CUT, n, 0.0, 0.0) for n in range(1, 7)] == [2, 60, 120, 240, 480, 900]
    assert longest(Disposition.SIGN_IN_CUT, 1) <= 5


@pytest.mark.parametrize("disposition", [Disposition.HOLD, Disposition.EXIT])
def test_a_refusal_waits_thirty_seconds_and_doubles_to_fifteen_minutes(disposition: Disposition) -> None:
    assert [delay(disposition, n, 0.0, 0.0) for n in range(1, 8)] == [30, 60, 120, 240, 480, 900, 900]


@given(random=randoms)
def test_a_refused_key_is_tried_at_most_three_times_in_the_first_minute(random: float) -> None:
    tries = [0.0]
    for count in range(1, 5):
        tries.append(tries[-1] + delay(Disposition.HOLD, count, tries[-1], random))

    assert sum(moment < 60 for moment in tries) <= 3


@given(count=failures, age=ages, random=randoms)
def test_every_class_keeps_its_range(count: int, age: float, random: float) -> None:
    ranges = {
        Disposition.RETRY: (0, 15),
        Disposition.MAX_STARTUPS: (5, 20),
        Disposition.SIGN_IN_CUT: (2, 900),
        Disposition.RETRY_FORWARD: (1, 5),
        Disposition.PENALIZED: (60, 600),
        Disposition.HOLD: (30, 900),
        Disposition.EXIT: (30, 900),
    }
    assert set(ranges) == set(Disposition)
    for disposition, (least, most) in ranges.items():
        assert least <= delay(disposition, count, age, random) <= most


def test_penalties_double_to_ten_minutes() -> None:
    assert [delay(Disposition.PENALIZED, n, 0.0, 0.0) for n in range(1, 6)] == [60, 120, 240, 480, 600]


def test_no_event_makes_a_refused_agent_retry_too_early() -> None:
    assert minimum_interval(Disposition.PENALIZED, 1) >= 60
    assert minimum_interval(Disposition.HOLD, 1) >= 30
    assert all(minimum_interval(disposition, 1) > 0 for disposition in Disposition)


@given(count=failures, random=randoms)
def test_what_an_event_may_shorten_grows_with_the_refusals_as_the_wait_itself(count: int, random: float) -> None:
    for disposition in (Disposition.HOLD, Disposition.PENALIZED, Disposition.EXIT):
        least, wait = minimum_interval(disposition, count), delay(disposition, count, 0.0, random)
        assert wait / 1.25 <= least <= wait
    assert minimum_interval(Disposition.HOLD, 6) == 900
    assert minimum_interval(Disposition.RETRY, count) == 0.5
