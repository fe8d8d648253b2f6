"""The log lines of connections: the tunnel's name, their levels, and a limit that counts what it leaves out."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from ioconnect.agent.session.connection_log import ConnectionLog
from ioconnect.line_limit import FOREVER

ORIGIN = (b"10.0.0.9", 4711)
REFUSED = "127.0.0.1: Connection refused"


class Clock:
    """A loop's time and timer."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.next_timer = FOREVER


class Scene:
    """A log, a clock, and the lines that were written."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.clock = Clock()
        self.log = ConnectionLog("orders", self.clock)
        self.caplog = caplog

    def end(self) -> None:
        connection: Any = SimpleNamespace(
            origin=ORIGIN, began=self.clock.now - 2, read_count=5, written_count=6, why=""
        )
        self.log.ended(connection)

    def wait(self) -> None:
        """Let the loop's timer expire."""
        self.clock.now, self.clock.next_timer = self.clock.next_timer, FOREVER
        self.clock.next_timer = self.log.expire(self.clock.now)

    def lines(self) -> list[str]:
        """Return what was logged since the last call."""
        said = [f"{record.levelname} {record.getMessage()}" for record in self.caplog.records]
        self.caplog.clear()
        return said


@pytest.fixture
def scene(caplog: pytest.LogCaptureFixture) -> Scene:
    caplog.set_level(logging.INFO, "ioconnect")
    return Scene(caplog)


@pytest.fixture
def verbose(caplog: pytest.LogCaptureFixture) -> Scene:
    caplog.set_level(logging.DEBUG, "ioconnect")
    return Scene(caplog)


def test_connections_that_end_are_logged_with_v_only(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.end()
    assert scene.lines() == []

    caplog.set_level(logging.DEBUG, "ioconnect")
    scene.end()
    assert scene.lines() == [
        "DEBUG orders: connection from 10.0.0.9 port 4711 ended after 2.0 s: 5 bytes from the target, 6 to it"
    ]


def test_a_jumphost_that_opens_a_million_connections_writes_twenty_lines_in_ten_seconds(verbose: Scene) -> None:
    for _ in range(1_000):
        verbose.end()
        verbose.clock.now += 0.001
    assert len(verbose.lines()) == 20

    verbose.wait()
    assert verbose.lines() == ["DEBUG orders: 980 more connection lines were not logged"]
    assert verbose.clock.next_timer == FOREVER
    assert verbose.clock.now == pytest.approx(1010, abs=0.1)


def test_failures_are_warned_of_at_once_and_then_counted_once_a_minute(scene: Scene) -> None:
    for _ in range(500):
        scene.log.failed(ORIGIN, REFUSED)
        scene.clock.now += 0.1
    assert scene.lines() == [f"WARNING orders: connection from 10.0.0.9 port 4711 failed: {REFUSED}"]
    assert scene.clock.next_timer == pytest.approx(1060, abs=0.2)

    scene.log.failed(ORIGIN, "127.0.0.1: no answer in 10 s")
    scene.wait()
    assert scene.lines() == ["WARNING orders: 500 more connections failed, the last: 127.0.0.1: no answer in 10 s"]
    assert scene.clock.next_timer == FOREVER


def test_with_v_every_failure_is_a_line_within_the_limit(verbose: Scene) -> None:
    for _ in range(3):
        verbose.log.failed(ORIGIN, REFUSED)

    assert [line.split()[0] for line in verbose.lines()] == ["WARNING", "DEBUG", "DEBUG"]


def test_the_counts_are_logged_when_the_session_ends(scene: Scene) -> None:
    for _ in range(3):
        scene.log.failed(ORIGIN, REFUSED)
    scene.lines()
    scene.log.close()

    assert scene.lines() == [f"WARNING orders: 2 more connections failed, the last: {REFUSED}"]


def test_nothing_is_due_while_nothing_was_left_out(scene: Scene) -> None:
    """An idle tunnel causes no wake-up."""
    scene.log.failed(ORIGIN, REFUSED)

    assert scene.log.expire(scene.clock.now) == FOREVER
    assert scene.clock.next_timer == FOREVER
