"""So many lines in a time, and then a count of those that were left out."""

from __future__ import annotations

from ioconnect.line_limit import FOREVER, LineLimit


def test_lines_come_back_with_the_time() -> None:
    limit = LineLimit(2, 10.0, 0.0)

    assert [limit.allow(now) for now in (0.0, 0.0, 5.0, 5.0)] == [True, True, True, False]


def test_after_one_that_was_refused_all_are_until_they_are_counted() -> None:
    """So that the count comes before the next line."""
    limit = LineLimit(1, 10.0, 0.0)
    assert [limit.allow(now) for now in (0.0, 1.0, 20.0)] == [True, False, False]
    assert limit.due == 11.0

    assert limit.take_suppressed(20.0) == 2
    assert (limit.suppressed, limit.due) == (0, FOREVER)
    assert [limit.allow(now) for now in (20.0, 31.0)] == [False, False], "the count was the line of this time"
    assert limit.take_suppressed(31.0) == 2
