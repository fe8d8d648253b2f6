"""Attempts per second after a jumphost's restart, ten thousand agents, ours and autossh's policy: docs/herd.svg.

`python -m benchmarks.herd_chart [FILE]`. The simulation is `tests.rigs.herd`, with the real machine and backoff; the
same seed gives the same picture.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from pathlib import Path
from xml.sax.saxutils import escape

from tests.rigs.herd import DOWN, Autossh, Ours, Outcome, restart

WIDTH, LEFT, RIGHT = 860, 60, 20
TOP, PANEL, BETWEEN, FOOT = 56, 150, 52, 40
FIRST, LAST = -int(DOWN), 600  # seconds shown; the jumphost is back at 0
DECADES = 5  # the scale goes to 100 000 attempts a second
CAPTION = (
    "Attempts per second (log scale); sshd with MaxStartups 10:30:100, "
    "simulated with the real state machine and backoff"
)
STYLE = """\
text{font:12px system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;fill:#1f2328}
.title{font-size:15px;font-weight:600}.strong{font-weight:600}.soft{fill:#59636e}.grid{stroke:#d1d9e0}
.s0{fill:#0969da}.s1{fill:#8c959f}.down{fill:#8c959f;opacity:.18}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.soft{fill:#9198a1}.grid{stroke:#3d444d}
.s0{fill:#4493f8}.s1{fill:#9198a1}}"""


def svg(panels: list[tuple[str, Outcome]]) -> str:
    """Return the chart of these outcomes, one below the other."""
    height = TOP + len(panels) * (PANEL + BETWEEN) - BETWEEN + FOOT
    body = [
        f'<text class="title" x="{LEFT}" y="22">Ten thousand agents after one restart of their jumphost</text>',
        f'<text class="soft" x="{LEFT}" y="40">{CAPTION}</text>',
    ]
    for index, (name, outcome) in enumerate(panels):
        body += _panel(name, outcome, index, TOP + index * (PANEL + BETWEEN))
    body.append(
        f'<text class="soft" x="{WIDTH - RIGHT}" y="{height - 6}" text-anchor="end">seconds; 0: it is back</text>'
    )
    box = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {box}><style>{STYLE}</style>'
    return "\n".join([head, *body, "</svg>"]) + "\n"


def _panel(name: str, outcome: Outcome, index: int, top: int) -> list[str]:
    bottom = top + PANEL
    drawn = [f'<rect class="down" x="{_across(FIRST)}" y="{top}" width="{_across(0) - LEFT:.1f}" height="{PANEL}"/>']
    for decade in range(DECADES + 1):
        y = bottom - PANEL * decade / DECADES
        drawn.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>')
        drawn.append(f'<text class="soft" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{10**decade:,}</text>')
    drawn += [
        f'<text class="soft" x="{_across(second)}" y="{bottom + 16}" text-anchor="middle">{second}</text>'
        for second in range(0, LAST + 1, 60)
    ]
    counts = Counter(math.floor(moment) for moment in outcome.attempts)
    width = _across(1) - _across(0)
    for second in range(FIRST, LAST):
        if counts[second]:
            tall = max(1.0, PANEL * math.log10(counts[second]) / DECADES)
            place = f'x="{_across(second)}" y="{bottom - tall:.1f}" width="{width:.2f}" height="{tall:.1f}"'
            drawn.append(f'<rect class="s{index}" {place}/>')
    told = escape(f"{name}: {_told(outcome)}")
    drawn.append(f'<text class="strong" x="{WIDTH - RIGHT}" y="{top - 6}" text-anchor="end">{told}</text>')
    return drawn


def _told(outcome: Outcome) -> str:
    if math.isinf(outcome.all_back):
        return f"half are back after {outcome.half_back:.0f} s, some not after two hours"
    return f"half are back after {outcome.half_back:.0f} s, all after {outcome.all_back:.0f} s"


def _across(second: float) -> float:
    """Return the horizontal place of a moment."""
    return round(LEFT + (WIDTH - LEFT - RIGHT) * (second - FIRST) / (LAST - FIRST), 1)


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/herd.svg")
    target.write_text(svg([("ioconnect", restart(Ours)), ("autossh", restart(Autossh))]))
    print(f"{target}: {target.stat().st_size} bytes")
