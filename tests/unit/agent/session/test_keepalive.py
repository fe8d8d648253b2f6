"""When a keepalive is sent, and when the jumphost counts as dead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioconnect.agent.session.keepalive import URGENT_TIMEOUT, Action, Keepalive


def silent_peer(interval: float, count_max: int) -> list[tuple[float, Action]]:
    """Return the actions, and when, for a peer that never sends a byte; the clock jumps to each deadline."""
    keepalive = Keepalive(interval, count_max, 0.0)
    story = []
    while True:
        now = keepalive.next_deadline()
        story.append((now, keepalive.check(now)))
        if story[-1][1] is Action.DEAD:
            return story
        keepalive.probe_sent(now)


def test_the_vendors_values_notice_a_dead_peer_after_twenty_seconds() -> None:
    assert silent_peer(10, 1) == [(10, Action.PROBE), (20, Action.DEAD)]


def test_three_probes_of_fifteen_seconds_take_a_minute_as_with_openssh() -> None:
    assert silent_peer(15, 3) == [(15, Action.PROBE), (30, Action.PROBE), (45, Action.PROBE), (60, Action.DEAD)]


def test_nothing_is_due_before_the_deadline() -> None:
    assert Keepalive(10, 1, 0.0).check(9.999) is Action.WAIT


def test_any_byte_answers_a_probe_and_starts_the_interval_anew() -> None:
    keepalive = Keepalive(10, 1, 0.0)
    keepalive.probe_sent(10.0)
    keepalive.received(19.9)

    assert keepalive.check(20.0) is Action.WAIT
    assert keepalive.next_deadline() == pytest.approx(29.9)
    assert keepalive.check(29.9) is Action.PROBE


def test_an_urgent_probe_is_sent_at_once_with_a_short_timeout() -> None:
    keepalive = Keepalive(60, 1, 0.0)
    keepalive.probe_now(3.0)

    assert keepalive.check(3.0) is Action.PROBE
    keepalive.probe_sent(3.0)
    assert keepalive.check(3.0 + URGENT_TIMEOUT) is Action.DEAD


def test_an_urgent_probe_shortens_the_timeout_of_a_pending_one_and_never_prolongs_it() -> None:
    keepalive = Keepalive(60, 1, 0.0)
    keepalive.probe_sent(60.0)
    keepalive.probe_now(61.0)
    assert keepalive.next_deadline() == 61.0 + URGENT_TIMEOUT

    keepalive.probe_now(64.0)
    assert keepalive.next_deadline() == 61.0 + URGENT_TIMEOUT


def test_a_byte_ends_the_urgency() -> None:
    keepalive = Keepalive(60, 2, 0.0)
    keepalive.probe_now(1.0)
    keepalive.probe_sent(1.0)
    keepalive.received(2.0)
    keepalive.probe_sent(62.0)

    assert keepalive.next_deadline() == 122.0


@given(
    interval=st.floats(0.1, 1000),
    count_max=st.integers(1, 10),
    pauses=st.lists(st.floats(0.01, 0.99), max_size=20),
)
def test_a_peer_that_sends_within_each_interval_is_never_probed(
    interval: float, count_max: int, pauses: list[float]
) -> None:
    keepalive, now = Keepalive(interval, count_max, 0.0), 0.0
    for pause in pauses:
        now += pause * interval
        assert keepalive.check(now) is Action.WAIT
        keepalive.received(now)


@given(interval=st.floats(0.1, 1000), count_max=st.integers(1, 10))
def test_death_comes_after_the_interval_times_the_probes_and_one(interval: float, count_max: int) -> None:
    story = silent_peer(interval, count_max)

    assert len(story) == count_max + 1
    assert story[-1][0] == pytest.approx(interval * (count_max + 1))
