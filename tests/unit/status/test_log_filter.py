"""Which lines of the log `logs` shows."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from ioconnect.status.log_filter import LineFilter, LogFilter, parse_since, written

NOW = datetime(2026, 11, 22, 10, 0, 0, 500_000, tzinfo=timezone.utc).timestamp()
LINES = """\
the end of a record in the file before
2026-11-22T09:00:00.000Z INFO orders: connected after 0.1 s, dial number 1
2026-11-22T09:10:00.000Z ERROR orders: a bug
Traceback (most recent call last):
ValueError: oh
2026-11-22T09:20:00.000Z DEBUG pricing: connection from 10.0.0.9 port 1 ended after 1.0 s
2026-11-22T09:30:00.000Z WARNING pricing: lost
2026-11-22T09:40:00.000Z WARNING orders-eu: lost
2026-11-22T09:50:00.000Z INFO reload: nothing changed
2026-11-22T09:59:00.000Z CRITICAL a bug ended the agent
""".splitlines()


def taken(wanted: LogFilter) -> list[int]:
    """Return the numbers of the wanted lines."""
    line_filter = LineFilter(wanted)
    return [number for number, line in enumerate(LINES) if line_filter.takes(line)]


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (LogFilter(), list(range(10))),
        (LogFilter(level="info"), [0, 1, 2, 3, 4, 6, 7, 8, 9]),
        (LogFilter(level="warning"), [0, 2, 3, 4, 6, 7, 9]),
        (LogFilter(level="error"), [0, 2, 3, 4, 9]),
        (LogFilter(name="orders"), [1, 2, 3, 4]),
        (LogFilter(name="pricing", level="info"), [6]),
        (LogFilter(since=NOW - 1800.5), [6, 7, 8, 9]),
        (LogFilter(name="orders", since=NOW - 1800), []),
        (LogFilter(name="nobody"), []),
    ],
    ids=str,
)
def test_lines_are_chosen_by_tunnel_time_and_level(wanted: LogFilter, numbers: list[int]) -> None:
    """The lines of a traceback go with the record that they belong to."""
    assert taken(wanted) == numbers


@pytest.mark.parametrize(
    ("text", "ago"),
    [("1h", 3600), ("30m", 1800), ("2d", 172_800), (" 90 s", 90), ("1w", 604_800), ("999999999w", NOW)],
)
def test_a_time_may_be_said_as_how_long_ago(text: str, ago: float) -> None:
    assert parse_since(text, NOW) == pytest.approx(NOW - ago)


def test_a_time_may_be_an_iso_time() -> None:
    assert parse_since("2026-11-22T10:00:00.500Z", 0) == NOW
    assert parse_since("2026-11-22T11:00:00.500+01:00", 0) == NOW
    assert parse_since("2026-11-22", 0) == datetime(2026, 11, 22).timestamp()  # noqa: DTZ001  local time, as typed
    assert written(NOW) == "2026-11-22T10:00:00.500Z"


@pytest.mark.parametrize("text", ["", "h", "-1h", "1 year", "yesterday", "2026-13-01", "٣h" * 100, "1h; reboot"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_since(text, NOW)
