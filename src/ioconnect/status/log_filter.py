"""Which lines of the log are wanted: by tunnel, time and level.

Pure. A line is as the agent writes it, `2026-11-22T10:00:00.000Z WARNING orders: text`; one that is not belongs to
the record before it, like a traceback.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone

LEVELS = ("debug", "info", "warning", "error")  # from the least severe on
_RECORD = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) ([A-Z]+) (.*)", re.DOTALL)
_AGO = re.compile(r"(\d{1,9})\s*([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}  # seconds


@dataclass(frozen=True, slots=True)
class LogFilter:
    """`since` is in seconds since the epoch; None: all lines of all tunnels."""

    name: str | None = None
    since: float | None = None
    level: str = "debug"

    @property
    def is_narrow(self) -> bool:
        """Whether a person asked for some lines only."""
        return self.name is not None or self.since is not None

    def takes(self, time: str, level: str, message: str) -> bool:
        """Say whether a record is wanted; its time and level are as the agent writes them."""
        return (
            (self.since is None or time >= written(self.since))
            and _severity(level) >= LEVELS.index(self.level)
            and (self.name is None or message.startswith(f"{self.name}: "))
        )


class LineFilter:
    """Applies a LogFilter to lines, one after another."""

    def __init__(self, wanted: LogFilter) -> None:
        self._wanted = wanted
        self._taken = not wanted.is_narrow  # lines before the first record

    def takes(self, line: str) -> bool:
        """Say whether the next line is wanted."""
        record = _RECORD.fullmatch(line)
        if record is not None:
            self._taken = self._wanted.takes(*record.groups())
        return self._taken


def written(seconds: float) -> str:
    """Return a time as the agent writes it."""
    moment = datetime.fromtimestamp(max(seconds, 0.0), timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


def parse_since(text: str, now: float) -> float:
    """Return the seconds since the epoch of `1h`, `30m`, `2d` (ago) or of an ISO 8601 time (local without a zone).

    Raises ValueError.
    """
    ago = _AGO.fullmatch(text.strip())
    if ago is not None:
        return max(0.0, now - int(ago.group(1)) * _UNITS[ago.group(2)])
    moment = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text.strip()))  # Python 3.10 knows no Z
    try:
        return max(0.0, moment.timestamp())
    except OverflowError as error:
        raise ValueError(str(error)) from error


def _severity(level: str) -> int:
    return LEVELS.index(level.lower()) if level.lower() in LEVELS else len(LEVELS)
