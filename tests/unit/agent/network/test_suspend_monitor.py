"""What counts as a suspend, with clocks that belong to the test."""

from __future__ import annotations

import pytest

from ioconnect.agent.network.suspend_monitor import SuspendDetector


class Clocks:
    """CLOCK_MONOTONIC, CLOCK_BOOTTIME and the wall clock of a machine that can be suspended."""

    def __init__(self) -> None:
        self.standing, self.boot, self.wall = 1000.0, 1000.0, 1.79e9

    def readers(self) -> tuple[object, ...]:
        return (lambda: self.standing, lambda: self.boot, lambda: self.wall)

    def awake(self, seconds: float) -> None:
        self.standing += seconds
        self.boot += seconds
        self.wall += seconds

    def suspend(self, seconds: float) -> None:
        self.boot += seconds
        self.wall += seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def test_a_suspend_is_reported_once(clocks: Clocks) -> None:
    detector = SuspendDetector(clocks.readers())  # type: ignore[arg-type]
    clocks.awake(100)
    clocks.suspend(3600)
    clocks.awake(0.2)

    assert detector.suspended_for() == pytest.approx(3600)
    assert detector.suspended_for() == 0


def test_time_that_passes_is_no_suspend(clocks: Clocks) -> None:
    detector = SuspendDetector(clocks.readers())  # type: ignore[arg-type]
    for _ in range(10):
        clocks.awake(8640)
        assert detector.suspended_for() == 0


def test_a_clock_that_is_slewed_or_set_back_is_no_suspend(clocks: Clocks) -> None:
    detector = SuspendDetector(clocks.readers())  # type: ignore[arg-type]
    clocks.wall += 0.4
    assert detector.suspended_for() == 0
    clocks.wall -= 7200
    assert detector.suspended_for() == 0


def test_a_paused_virtual_machine_shows_only_on_the_wall_clock(clocks: Clocks) -> None:
    """Its other clocks stood still with it; the wall clock is set right afterwards."""
    detector = SuspendDetector(clocks.readers())  # type: ignore[arg-type]
    clocks.wall += 600

    assert detector.suspended_for() == pytest.approx(600)
