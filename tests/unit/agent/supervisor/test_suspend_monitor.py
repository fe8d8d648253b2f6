"""Clocks in the test's hand: what counts as a sleep."""

from __future__ import annotations

import pytest

from ioconnect.agent.supervisor.suspend_monitor import SleepMeter


class Clocks:
    """CLOCK_MONOTONIC, CLOCK_BOOTTIME and the wall clock of a machine that can sleep."""

    def __init__(self) -> None:
        self.standing, self.boot, self.wall = 1000.0, 1000.0, 1.79e9

    def readers(self) -> tuple[object, ...]:
        return (lambda: self.standing, lambda: self.boot, lambda: self.wall)

    def awake(self, seconds: float) -> None:
        self.standing += seconds
        self.boot += seconds
        self.wall += seconds

    def asleep(self, seconds: float) -> None:
        self.boot += seconds
        self.wall += seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def test_a_sleep_is_told_once(clocks: Clocks) -> None:
    meter = SleepMeter(clocks.readers())  # type: ignore[arg-type]
    clocks.awake(100)
    clocks.asleep(3600)
    clocks.awake(0.2)

    assert meter.slept() == pytest.approx(3600)
    assert meter.slept() == 0


def test_time_that_passes_is_no_sleep(clocks: Clocks) -> None:
    meter = SleepMeter(clocks.readers())  # type: ignore[arg-type]
    for _ in range(10):
        clocks.awake(8640)
        assert meter.slept() == 0


def test_a_clock_that_is_slewed_or_set_back_is_no_sleep(clocks: Clocks) -> None:
    meter = SleepMeter(clocks.readers())  # type: ignore[arg-type]
    clocks.wall += 0.4
    assert meter.slept() == 0
    clocks.wall -= 7200
    assert meter.slept() == 0


def test_a_paused_virtual_machine_shows_only_on_the_wall(clocks: Clocks) -> None:
    """Its other clocks stood still with it; the wall clock is set right afterwards."""
    meter = SleepMeter(clocks.readers())  # type: ignore[arg-type]
    clocks.wall += 600

    assert meter.slept() == pytest.approx(600)
