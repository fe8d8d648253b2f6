"""The ratios as a bar chart in SVG: how many times as good as OpenSSH with its default cipher, on a log scale.

Pure. The colours follow the reader's light or dark scheme; the background is the page's.
"""

# ruff: noqa: RUF001  multiplication signs, dashes and quotation marks are what gets published

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from benchmarks.measures import MEASURES, OPENSSH, PLAIN, PROTOTYPE
from benchmarks.report import number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.measures import Measure
    from benchmarks.samples import Samples

_TITLE = "Times as good as OpenSSH’s client with its default cipher (longer is better)"
_WIDTH, _LEFT, _RIGHT = 860, 330, 60  # the plot is between the margins
_LABELS = 290  # where the rows' names end
_TOP, _BAR, _GAP = 70, 11, 14
_FOOT = 34
_STYLE = """\
text{font:12px system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;fill:#1f2328}
.title{font-size:15px;font-weight:600}.soft{fill:#59636e}.grid{stroke:#d1d9e0}.one{stroke:#59636e;stroke-width:1.5}
.s0{fill:#0969da}.s1{fill:#8c959f}.s2{fill:#bf8700}.s3{fill:#1a7f37}.strong{font-weight:600}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.soft{fill:#9198a1}.grid{stroke:#3d444d}.one{stroke:#9198a1}
.s0{fill:#4493f8}.s1{fill:#6e7681}.s2{fill:#d29922}.s3{fill:#3fb950}}"""


def svg(samples: Samples, titles: Mapping[str, str], ours: str) -> str:
    """The chart of every charted measure that was taken of us and of OpenSSH; `titles` by key, in order."""
    series = [ours, *(key for key in titles if key not in (ours, OPENSSH, PLAIN, PROTOTYPE))]
    groups = [(m, _advantages(samples, m, series)) for m in MEASURES if m.charted]
    groups = [(measure, values) for measure, values in groups if ours in values]
    lowest, highest = _span([value for _, values in groups for value in values.values()])

    def across(value: float) -> float:
        """The horizontal place of a ratio."""
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (math.log2(value) - lowest) / (highest - lowest)

    body: list[str] = []
    y = _TOP
    for measure, values in groups:
        height = _BAR * len(values)
        body.append(
            f'<text x="{_LABELS}" y="{y + height / 2 + 4:.1f}" text-anchor="end">{escape(measure.title)}</text>'
        )
        for key, value in values.items():
            body.append(_bar(across(1), across(value), y, series.index(key), f"{number(value)}×"))
            y += _BAR
        y += _GAP
    head = _head(titles, series) + _grid(range(lowest, highest + 1), across, y)
    one = f'<line class="one" x1="{across(1):.1f}" y1="{_TOP - 6}" x2="{across(1):.1f}" y2="{y - _GAP + 6}"/>'
    box = f'viewBox="0 0 {_WIDTH} {y + _FOOT}" width="{_WIDTH}" height="{y + _FOOT}"'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img" aria-label="{escape(_TITLE)}">'
    return "\n".join([opening, f"<style>{_STYLE}</style>", *head, *body, one, "</svg>"]) + "\n"


def _advantages(samples: Samples, measure: Measure, series: Sequence[str]) -> dict[str, float]:
    """By contestant, how many times as good as OpenSSH; more than 1 is better whatever the measure."""
    found = {}
    for key in series:
        ratio = samples.ratio(measure.key, key, OPENSSH)
        if ratio is not None and ratio[0] > 0:
            found[key] = ratio[0] if measure.more_is_better else 1 / ratio[0]
    return found


def _span(values: Sequence[float]) -> tuple[int, int]:
    """The powers of two that enclose all values, and at least from a half to twice."""
    logs = [math.log2(value) for value in values]
    return min(-1, math.floor(min(logs, default=0))), max(1, math.ceil(max(logs, default=0)))


def _bar(start: float, end: float, y: float, series: int, text: str) -> str:
    left, width = min(start, end), max(abs(end - start), 1)
    # Beside the bar's end that points away from the middle.
    x, anchor = (end + 5, "start") if end >= start else (end - 5, "end")
    weight = ' class="strong"' if series == 0 else ' class="soft"'
    return (
        f'<rect class="s{series % 4}" x="{left:.1f}" y="{y}" width="{width:.1f}" height="{_BAR - 1}"/>'
        f'<text{weight} x="{x:.1f}" y="{y + _BAR - 2}" text-anchor="{anchor}" style="font-size:10px">{text}</text>'
    )


def _head(titles: Mapping[str, str], series: Sequence[str]) -> list[str]:
    parts = [f'<text class="title" x="12" y="24">{escape(_TITLE)}</text>']
    x = 12
    for place, key in enumerate(series):
        parts.append(f'<rect class="s{place % 4}" x="{x}" y="38" width="11" height="11"/>')
        parts.append(f'<text x="{x + 17}" y="48">{escape(titles[key])}</text>')
        x += 40 + 7 * len(titles[key])
    return parts


def _grid(powers: range, across: Callable[[float], float], bottom: float) -> list[str]:
    parts = []
    for power in powers:
        x, label = across(2.0**power), f"{2.0**power:g}×"
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{_TOP - 6}" x2="{x:.1f}" y2="{bottom - _GAP + 6}"/>')
        parts.append(f'<text class="soft" x="{x:.1f}" y="{bottom + 10}" text-anchor="middle">{label}</text>')
    return parts
