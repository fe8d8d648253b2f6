"""How often the peer may ask for new keys."""

from __future__ import annotations

import pytest

from ioconnect.ssh.rekey_allowance import BURST, BYTES, SECONDS, RekeyAllowance

MIB = 1 << 20
GIB = 1 << 30


def test_one_in_a_few_seconds() -> None:
    allowance = RekeyAllowance(100.0)

    assert all(allowance.take(100.0 + SECONDS * number, 0) for number in range(1, 1000))


def test_more_often_is_a_burst_and_no_more() -> None:
    allowance = RekeyAllowance(100.0)

    assert [allowance.take(100.0, 0) for _ in range(BURST + 2)] == [True] * BURST + [False] * 2


def test_once_a_second_is_too_often() -> None:
    allowance = RekeyAllowance(100.0)
    taken = [allowance.take(100.0 + second, 0) for second in range(1, 61)]

    assert 0 < taken.index(False) < 45


def test_little_data_earns_little() -> None:
    """A key exchange after each 256 KiB was free: 60 of them cost eight seconds of CPU."""
    allowance = RekeyAllowance(100.0)
    taken = [allowance.take(100.0, 256 << 10) for _ in range(60)]

    assert BURST <= taken.index(False) <= BURST + 2


@pytest.mark.parametrize("limit", [16 * MIB, 100 * MIB, GIB])
@pytest.mark.parametrize("rate", [1 * MIB, 100 * MIB, 10 * GIB], ids=["1 MiB/s", "100 MiB/s", "10 GiB/s"])
def test_what_an_administrator_sets_ends_no_session(limit: int, rate: int) -> None:
    """RekeyLimit, however fast the link is."""
    allowance = RekeyAllowance(0.0)

    assert all(allowance.take(number * limit / rate, limit) for number in range(1, 10_000))


def test_a_pause_saves_no_more_than_a_burst() -> None:
    allowance = RekeyAllowance(0.0)
    assert allowance.take(1e6, 1000 * BYTES)

    assert [allowance.take(1e6, 0) for _ in range(BURST)] == [True] * (BURST - 1) + [False]
