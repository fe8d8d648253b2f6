"""Durations and sizes, as people read them."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from ioconnect.status.durations import NEVER, elapsed, size

NOW = datetime(2026, 11, 22, 12, 30, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("since", "shown"),
    [
        ("2026-11-22T12:30:00Z", "0s"),
        ("2026-11-22T12:31:00Z", "0s"),  # a clock that was set back
        ("2026-11-22T12:29:01Z", "59s"),
        ("2026-11-22T12:18:00Z", "12m"),
        ("2026-11-22T11:24:59Z", "1h 5m"),
        ("2026-11-19T08:00:00Z", "3d 4h"),
        ("2026-11-22T12:30:00+01:00", "1h 0m"),
        ("yesterday", "-"),
        ("", "-"),
        (NEVER, "-"),
    ],
)
def test_elapsed(since: str, shown: str) -> None:
    assert elapsed(since, NOW) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (123456, "120.6 KiB"),
        (5 << 30, "5.0 GiB"),
        (9 << 60, "9437184.0 TiB"),
    ],
)
def test_size(count: int, shown: str) -> None:
    assert size(count) == shown
