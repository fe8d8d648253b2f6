"""Every figure that was taken, by measure and contestant, and everything that went wrong.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median


@dataclass(slots=True)
class Samples:
    """Figures in the order of the rounds; medians and ratios of them."""

    figures: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, measure: str, contestant: str, figure: float) -> None:
        """Keep one round's figure."""
        self.figures.setdefault((measure, contestant), []).append(figure)

    def fail(self, contestant: str, load: str, why: str) -> None:
        """Keep what went wrong first with this load on this contestant."""
        prefix = f"{contestant}: {load}: "
        if not any(text.startswith(prefix) for text in self.failures):
            self.failures.append(prefix + why)

    def median(self, measure: str, contestant: str) -> float | None:
        """The median over the rounds; None if there is none."""
        figures = self.figures.get((measure, contestant))
        return median(figures) if figures else None

    def ratio(self, measure: str, ours: str, reference: str) -> tuple[float, float, float] | None:
        """Ours/reference: of the medians, and the least and the most of any one round; None if not comparable."""
        mine, other = self.figures.get((measure, ours)), self.figures.get((measure, reference))
        if not mine or not other or min(other) <= 0:
            return None
        rounds = [a / b for a, b in zip(mine, other, strict=False)]  # a contestant that failed has fewer
        return median(mine) / median(other), min(rounds), max(rounds)

    def as_json(self) -> dict[str, dict[str, list[float]]]:
        """Every figure by measure and contestant, for a closer look."""
        found: dict[str, dict[str, list[float]]] = {}
        for (measure, contestant), figures in self.figures.items():
            found.setdefault(measure, {})[contestant] = figures
        return found

    def rounds(self) -> int:
        """The most rounds that any figure was taken in."""
        return max((len(figures) for figures in self.figures.values()), default=0)
