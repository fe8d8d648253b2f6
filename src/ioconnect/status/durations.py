"""Times and sizes as people read them.

Pure.
"""

from __future__ import annotations

from datetime import datetime, timezone

NEVER = "1970-01-01T00:00:00Z"  # in the place of a moment that is not known


def elapsed(since: str, now: datetime) -> str:
    """Return the time since `since` (RFC 3339) as `3s`, `12m`, `2h 5m`, `3d 4h`; "-" if it is NEVER or invalid."""
    return "-" if since == NEVER else _duration(since, now, -1)


def elapsed_until(moment: str, now: datetime) -> str:
    """Return the time until `moment` (RFC 3339) in the same form, `0s` if it is past; "-" if it is invalid."""
    return _duration(moment, now, 1)


def _duration(moment: str, now: datetime, sign: int) -> str:
    try:
        then = datetime.fromisoformat(moment.removesuffix("Z"))
    except ValueError:
        return "-"
    if then.tzinfo is None:
        then = then.replace(tzinfo=timezone.utc)
    seconds = max(0, round(sign * (then - now).total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days}d {hours % 24}h"
    if hours:
        return f"{hours}h {minutes % 60}m"
    return f"{minutes}m" if minutes else f"{seconds}s"


def size(count: int) -> str:
    """Return a number of bytes with its unit: `0 B`, `1.2 KiB`, `34.5 GiB`."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1000:  # noqa: PLR2004  four digits would widen the column
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
