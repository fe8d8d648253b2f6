"""So many lines of log in a time: what a peer can cause at will does not push out the rest. Pure: given the time."""

from __future__ import annotations

FOREVER = float("inf")


class LineLimit:
    """A token bucket: `lines` at once, and as many in each `seconds` after that.

    Once it refused one, it refuses all until `due`, so that one line can say how many there were.
    """

    __slots__ = ("_lines", "_seconds", "_tokens", "_updated_at", "due", "suppressed")

    def __init__(self, lines: int, seconds: float, now: float) -> None:
        self._lines = lines
        self._seconds = seconds
        self._tokens = float(lines)
        self._updated_at = now
        self.suppressed = 0
        self.due = FOREVER  # when to say how many were refused

    def allow(self, now: float) -> bool:
        """Say whether a line may be logged now, which it then is."""
        self._tokens = min(self._lines, self._tokens + (now - self._updated_at) * self._lines / self._seconds)
        self._updated_at = now
        if self._tokens >= 1 and not self.suppressed:
            self._tokens -= 1
            return True
        if not self.suppressed:
            self.due = now + self._seconds
        self.suppressed += 1
        return False

    def take_suppressed(self, now: float) -> int:
        """Return how many lines were refused, for a line that says so, and begin to count anew."""
        count, self.suppressed, self.due = self.suppressed, 0, FOREVER
        self._tokens, self._updated_at = max(0.0, self._tokens - 1), now
        return count
