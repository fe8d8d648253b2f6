"""How often the peer may ask for new keys."""

from __future__ import annotations

import itertools

import pytest

from ioconnect.ssh.rekey_allowance import SAVED, SECONDS, SHARE, RekeyAllowance

MIB = 1 << 20
GIB = 1 << 30
CURVE25519, GROUP16 = 0.002, 0.035  # seconds of CPU


def passed(allowance: RekeyAllowance, *, every: float, cost: float, within: float, start: float = 0.0) -> int:
    """Return how many exchanges of this cost were allowed in so many seconds, until the first that had to wait."""
    for count in itertools.count(1):
        at = start + count * every
        if at > start + within or allowance.delay(at):
            return count - 1
        allowance.begin(at)
        allowance.spend(cost)
    raise AssertionError


def taken(allowance: RekeyAllowance, *, cost: float, within: float) -> list[float]:
    """Return when the exchanges begin of somebody who asks again at once, and waits as long as it must."""
    begun, now = [], 0.0
    while now <= within:
        now += allowance.delay(now)
        assert allowance.delay(now) < 1e-9  # it is what was said; the clock's arithmetic aside
        allowance.begin(now)
        allowance.spend(cost)
        begun.append(now)
    return begun


@pytest.mark.parametrize("cost", [CURVE25519, GROUP16, 3.0])
def test_one_in_a_few_seconds_however_slow_the_machine_is(cost: float) -> None:
    assert passed(RekeyAllowance(0.0), every=SECONDS, cost=cost, within=5000 * SECONDS) == 5000


@pytest.mark.parametrize("cost", [CURVE25519, GROUP16])
@pytest.mark.parametrize("every", [0.0, 0.001, 0.01], ids=["at once", "every ms", "every 10 ms"])
def test_it_costs_no_more_than_its_share(cost: float, every: float) -> None:
    """Whatever else the peer sends: data earns nothing, as MSG_IGNORE costs it nothing."""
    count = passed(RekeyAllowance(0.0), every=every, cost=cost, within=1000.0)

    assert 0 < count * cost <= SAVED + SHARE * count * every + cost


@pytest.mark.parametrize(
    ("limit", "cost", "rate"),
    [
        (GIB, CURVE25519, 10 * GIB),
        (GIB, GROUP16, 1250 * 10**6),
        (GIB, 10 * GROUP16, 125 * 10**6),
        (512 * MIB, GROUP16, 700 * 10**6),
        (64 * MIB, CURVE25519, 1250 * 10**6),
        (16 * MIB, CURVE25519, 400 * 10**6),
    ],
    ids=["fast", "group 16", "slow machine", "512M", "64M", "16M"],
)
def test_what_an_administrator_sets_ends_no_session(limit: int, cost: float, rate: float) -> None:
    """RekeyLimit, at full throughput."""
    every = limit / rate

    assert passed(RekeyAllowance(0.0), every=every, cost=cost, within=9999.5 * every) == 9999


def test_a_pause_saves_no_more_than_there_is_at_the_beginning() -> None:
    allowance = RekeyAllowance(0.0)

    assert passed(allowance, every=0.0, cost=SAVED / 7.5, within=1.0, start=1e6) == 8


def test_after_a_dear_one_the_next_waits_a_few_seconds_at_most() -> None:
    allowance = RekeyAllowance(0.0)
    assert allowance.delay(1.0) == 0.0
    allowance.begin(1.0)
    allowance.spend(100.0)

    assert allowance.delay(1.0 + SECONDS / 4) == pytest.approx(SECONDS * 3 / 4)
    assert allowance.delay(1.0 + SECONDS) == 0.0


@pytest.mark.parametrize("cost", [CURVE25519, GROUP16, 10 * GROUP16], ids=["fast", "group 16", "slow machine"])
def test_who_always_asks_waits_and_gets_the_share(cost: float) -> None:
    """Steadily, not in bursts: a peer that waits goes on after the same time again and again."""
    begun = taken(RekeyAllowance(0.0), cost=cost, within=1000.0)

    gap = min(cost / SHARE, SECONDS)
    assert len(begun) == pytest.approx(SAVED / cost + 1000.0 / gap, abs=3)
    assert [late - early for early, late in itertools.pairwise(begun[-100:])] == pytest.approx([gap] * 99)
