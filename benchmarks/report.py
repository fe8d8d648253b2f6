"""The figures as Markdown: a table of ratios, a table of absolute facts, and what went wrong.

Pure.
"""

# ruff: noqa: RUF001  multiplication signs, dashes and quotation marks are what gets published

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.measures import FACTS, MEASURES, Fact, Goal, Measure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.samples import Samples

_NOTES = """\
Ratios are ours divided by the reference's, of the medians; in brackets the least and the most of any one round.
All contestants are up at the same time on the same sshd, and each load runs on one after another before the next
load, in another order each round. An arrow says which way is better. They are ratios on purpose: absolute figures are
this machine's, not yours. With OpenSSH clients before version 10 a new connection costs 40 ms (Nagle's algorithm in
sshd meets the client's delayed acknowledgement); newer ones have cured that, and the goal of 10 is about the older.
"""


def markdown(samples: Samples, titles: Mapping[str, str], ours: str, machine: Mapping[str, str]) -> str:
    """The whole of RESULTS.md; `titles` has the contestants by key, in order."""
    references = [key for key in titles if key != ours]
    measured = {measure for measure, _ in samples.figures}
    taken = [measure for measure in MEASURES if measure.key in measured]
    facts = [fact for fact in FACTS if fact.key in measured]
    parts = [
        "# Benchmark results",
        "Made by `python -m benchmarks`; do not edit.",
        "\n".join(f"- {name}: {value}" for name, value in machine.items()) + f"\n- rounds: {samples.rounds()}",
        f"## {titles[ours]}, divided by …",
        _table(_ratio_head(references, titles), [_ratio_row(samples, m, ours, references) for m in taken]),
        _NOTES.strip(),
        "## Absolute figures, on this machine",
        _table(_fact_head(ours, titles), [_fact_row(samples, fact, ours, list(titles)) for fact in facts]),
    ]
    missing = dict.fromkeys(one.title for one in (*MEASURES, *FACTS) if one.key not in measured)
    if missing:
        parts.append(f"Not measured in this run: {'; '.join(missing)}.")
    if samples.failures:
        parts += ["## What failed or was left out", "\n".join(f"- {_on_one_line(text)}" for text in samples.failures)]
    return "\n\n".join(parts) + "\n"


def number(value: float) -> str:
    """Three digits or so."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _ratio_head(references: Sequence[str], titles: Mapping[str, str]) -> list[str]:
    return ["work", *(titles[key] for key in references), "goal", "met"]


def _ratio_row(samples: Samples, measure: Measure, ours: str, references: Sequence[str]) -> list[str]:
    ratios = {key: samples.ratio(measure.key, ours, key) for key in references}
    cells = [_ratio_cell(ratios[key]) for key in references]
    goals = "; ".join(_goal_text(measure, goal) for goal in measure.goals)
    compared = {goal: ratios.get(goal.reference) for goal in measure.goals}
    verdict = _verdict([measure.meets(goal, ratio[0]) if ratio else None for goal, ratio in compared.items()])
    return [f"{measure.title} {'↑' if measure.more_is_better else '↓'}", *cells, goals or "–", verdict]


def _ratio_cell(ratio: tuple[float, float, float] | None) -> str:
    if ratio is None:
        return "–"
    spread = "" if ratio[1] == ratio[2] else f" ({number(ratio[1])}–{number(ratio[2])})"
    return f"**{number(ratio[0])}**{spread}"


def _goal_text(measure: Measure, goal: Goal) -> str:
    return f"{'≥' if measure.more_is_better else '≤'} {goal.bound:g} × {goal.reference}"


def _fact_head(ours: str, titles: Mapping[str, str]) -> list[str]:
    return ["what", titles[ours], *(title for key, title in titles.items() if key != ours), "goal", "met"]


def _fact_row(samples: Samples, fact: Fact, ours: str, contestants: Sequence[str]) -> list[str]:
    ordered = [ours, *(key for key in contestants if key != ours)]
    figures = [samples.median(fact.key, key) for key in ordered]
    goal = fact.goal or "–"
    verdict = _verdict([fact.meets(figures[0])] if fact.goal else [])
    return [fact.title, *("–" if figure is None else fact.form.format(figure) for figure in figures), goal, verdict]


def _verdict(met: Sequence[bool | None]) -> str:
    """One word for all goals of a row; None in `met` is a goal that nothing was measured for."""
    known = [one for one in met if one is not None]
    if not known:
        return "not measured" if met else "–"
    return "yes" if all(known) else "**no**"


def _on_one_line(text: str) -> str:
    return " ".join(text.replace("`", "'").split())


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
