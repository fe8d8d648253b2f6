"""How often the peer may ask for new keys."""

from __future__ import annotations

from ioconnect.ssh.rekey_allowance import BURST, FREE_BYTES, RekeyAllowance


def test_every_second_is_as_often_as_openssh_can() -> None:
    allowance = RekeyAllowance(100.0)

    assert all(allowance.take(100.0 + second, 0) for second in range(1, 3600))


def test_more_often_is_a_burst_and_no_more() -> None:
    allowance = RekeyAllowance(100.0)

    assert [allowance.take(100.0, 0) for _ in range(BURST + 2)] == [True] * BURST + [False] * 2


def test_after_data_it_is_free() -> None:
    allowance = RekeyAllowance(100.0)

    assert all(allowance.take(100.0, FREE_BYTES) for _ in range(1000))
    assert allowance.take(100.0, 0)
