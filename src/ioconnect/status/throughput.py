"""How fast bytes go, from counters that are looked at now and then; and the last minute of it as a line of blocks.

Pure.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
KEPT = 60  # rates
# The agent publishes once a second and nobody looks just then: over two seconds that evens out.
WINDOW = 2.0  # seconds


@dataclass(slots=True)
class Meter:
    """Makes rates of a counter; one that falls has begun anew (the agent was restarted)."""

    rates: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    _looks: deque[tuple[float, int]] = field(default_factory=deque)

    def look(self, now: float, count: int) -> None:
        """Take in what the counter says at `now` (seconds of any clock that does not go backwards)."""
        if self._looks and count < self._looks[-1][1]:
            self._looks.clear()
        self._looks.append((now, count))
        while len(self._looks) > 2 and now - self._looks[1][0] >= WINDOW:  # noqa: PLR2004  a rate takes two
            self._looks.popleft()
        then, before = self._looks[0]
        passed = now - then
        self.rates.append((count - before) / passed if passed > 0 else 0.0)

    @property
    def rate(self) -> float:
        """Bytes per second now."""
        return self.rates[-1] if self.rates else 0.0


def sparkline(rates: Sequence[float], width: int) -> str:
    """Return the last `width` rates as blocks, the newest at the right, the fastest as the highest."""
    shown = list(rates)[-width:] if width > 0 else []
    highest = max(shown, default=0.0)
    top = len(BLOCKS) - 1
    return "".join(BLOCKS[round(rate / highest * top) if highest > 0 else 0] for rate in shown).rjust(width)
