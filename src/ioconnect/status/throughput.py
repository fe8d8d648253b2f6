"""Rates computed from samples of a byte counter, and the last of them as a sparkline.

Pure.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
MAX_RATES = 60  # rates
# The agent publishes once a second, not in step with the samples: a window of two seconds evens that out.
WINDOW = 2.0  # seconds


@dataclass(slots=True)
class Meter:
    """Computes rates of a counter; a counter that decreases was reset (the agent was restarted)."""

    rates: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_RATES))
    _samples: deque[tuple[float, int]] = field(default_factory=deque)

    def sample(self, now: float, count: int) -> None:
        """Add the counter's value at `now` (seconds of a monotonic clock)."""
        if self._samples and count < self._samples[-1][1]:
            self._samples.clear()
        self._samples.append((now, count))
        while len(self._samples) > 2 and now - self._samples[1][0] >= WINDOW:  # noqa: PLR2004  a rate takes two
            self._samples.popleft()
        then, before = self._samples[0]
        passed = now - then
        self.rates.append((count - before) / passed if passed > 0 else 0.0)

    @property
    def rate(self) -> float:
        """The last rate in bytes per second."""
        return self.rates[-1] if self.rates else 0.0


def sparkline(rates: Sequence[float], width: int) -> str:
    """Return the last `width` rates as block characters, the newest at the right, scaled to the highest rate."""
    shown = list(rates)[-width:] if width > 0 else []
    highest = max(shown, default=0.0)
    top = len(BLOCKS) - 1
    return "".join(BLOCKS[round(rate / highest * top) if highest > 0 else 0] for rate in shown).rjust(width)
