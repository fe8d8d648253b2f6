"""Rates of a byte counter, and the sparkline of them."""

from __future__ import annotations

from ioconnect.status.throughput import BLOCKS, MAX_RATES, Meter, sparkline


def test_a_steady_stream_has_one_rate_however_it_is_published() -> None:
    """The counter moves once a second, in the middle between two samples."""
    meter = Meter()
    for half in range(20):
        meter.sample(half / 2, (half // 2) * 1000)

    settled = list(meter.rates)[6:]
    assert all(750 <= rate <= 1250 for rate in settled), settled


def test_an_idle_tunnel_comes_down_to_nothing() -> None:
    meter = Meter()
    for second, count in enumerate([0, 5000, 5000, 5000, 5000]):
        meter.sample(float(second), count)

    assert meter.rate == 0
    assert max(meter.rates) == 5000


def test_a_restarted_agent_counts_from_nothing() -> None:
    meter = Meter()
    for second, count in enumerate([10**9, 10**9 + 10, 5]):
        meter.sample(float(second), count)

    assert min(meter.rates) >= 0


def test_only_the_last_minute_is_kept() -> None:
    meter = Meter()
    for sample in range(1000):
        meter.sample(float(sample), sample)

    assert len(meter.rates) == MAX_RATES


def test_two_samples_at_once_are_no_rate() -> None:
    meter = Meter()
    meter.sample(1.0, 0)
    meter.sample(1.0, 1000)

    assert meter.rate == 0


def test_the_line_shows_the_newest_at_the_right() -> None:
    assert sparkline([1, 2, 4, 8, 0], 4) == "▃▅█▁"
    assert sparkline([7], 3) == "  █"
    assert sparkline([0, 0], 2) == BLOCKS[0] * 2
    assert (sparkline([], 3), sparkline([1], 0)) == ("   ", "")
