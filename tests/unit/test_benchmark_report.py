"""The benchmark's arithmetic and its two documents."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from benchmarks import chart, report
from benchmarks.measures import FACTS, IOCONNECT, MEASURES, OPENSSH, OPENSSH_GCM, PLAIN
from benchmarks.samples import Samples

TITLES = {IOCONNECT: "ioconnect", OPENSSH: "OpenSSH", OPENSSH_GCM: "OpenSSH <gcm>", PLAIN: "plain & simple"}
BY_KEY = {measure.key: measure for measure in MEASURES}


def taken(figures: dict[tuple[str, str], list[float]]) -> Samples:
    samples = Samples()
    for (measure, contestant), rounds in figures.items():
        for figure in rounds:
            samples.add(measure, contestant, figure)
    return samples


def row(text: str, title: str) -> list[str]:
    found = [line for line in text.splitlines() if line.startswith(f"| {title}")]
    assert len(found) == 1
    return [cell.strip() for cell in found[0].strip("|").split("|")]


def test_a_ratio_is_of_medians_and_its_spread_is_of_rounds() -> None:
    samples = taken({("out1", IOCONNECT): [100, 300, 200], ("out1", OPENSSH): [100, 100, 50]})

    assert samples.ratio("out1", IOCONNECT, OPENSSH) == (2.0, 1.0, 4.0)
    assert samples.rounds() == 3


@pytest.mark.parametrize("other", [[], [0.0, 1.0]])
def test_nothing_is_compared_with_nothing(other: list[float]) -> None:
    samples = taken({("out1", IOCONNECT): [1.0], ("out1", OPENSSH): other})

    assert samples.ratio("out1", IOCONNECT, OPENSSH) is None


@pytest.mark.parametrize(
    ("key", "mine", "verdict"),
    [
        ("out1", 131, "yes"),  # more is better: at least 1.3 times 100 and as much as 120
        ("out1", 125, "**no**"),
        ("ping_p50", 109, "yes"),  # less is better: at most 1.1 times 100
        ("ping_p50", 111, "**no**"),
        ("ping_p99", 50, "–"),  # noqa: RUF001  the report's own dash: no goal
    ],
)
def test_every_goal_of_a_row_decides_its_verdict(key: str, mine: float, verdict: str) -> None:
    samples = taken({(key, IOCONNECT): [mine], (key, OPENSSH): [100], (key, OPENSSH_GCM): [120]})
    table = report.markdown(samples, TITLES, IOCONNECT, {}).split("## Absolute")[0]

    assert row(table, BY_KEY[key].title)[-1] == verdict


def test_a_goal_that_nothing_was_measured_for_is_neither_met_nor_missed() -> None:
    samples = taken({("churn_cpu", IOCONNECT): [1.0], ("churn_cpu", OPENSSH): [1.0]})  # its goal is another's

    text = report.markdown(samples, TITLES, IOCONNECT, {})

    assert row(text, "CPU per new connection")[-1] == "not measured"
    assert f"Not measured in this run: {BY_KEY['out1'].title};" in text


def test_facts_are_held_against_our_own_figure_only() -> None:
    samples = taken({("rss_one", OPENSSH): [9.0], ("rss_one", IOCONNECT): [50.1]})

    cells = row(report.markdown(samples, TITLES, IOCONNECT, {}), "resident with one tunnel")

    assert cells[1:3] == ["50.1 MB", "9.0 MB"]
    assert cells[-1] == "**no**"


def test_what_failed_is_said_once_on_one_line() -> None:
    samples = Samples()
    for _ in range(2):
        samples.fail(OPENSSH, "out1", "lost\nthe `reply`")

    text = report.markdown(samples, TITLES, IOCONNECT, {"kernel": "Linux"})

    assert text.endswith("\n- openssh: out1: lost the 'reply'\n")
    assert "- kernel: Linux" in text


def test_every_key_is_there_once() -> None:
    for kind in (MEASURES, FACTS):
        keys = [one.key for one in kind]
        assert len(keys) == len(set(keys))


def bars(text: str, series: int) -> list[tuple[float, float]]:
    """Left edge and width of this contestant's bars, without the key to the colours."""
    root = ET.fromstring(text)
    found = [r for r in root.iter("{http://www.w3.org/2000/svg}rect") if r.get("class") == f"s{series}"]
    return [(float(r.get("x", "")), float(r.get("width", ""))) for r in found[1:]]


def test_the_chart_shows_better_to_the_right_whichever_way_is_better() -> None:
    samples = taken(
        {
            ("out1", IOCONNECT): [200],
            ("out1", OPENSSH): [100],
            ("out1", OPENSSH_GCM): [50],
            ("ping_p50", IOCONNECT): [50],
            ("ping_p50", OPENSSH): [100],
        }
    )

    text = chart.svg(samples, TITLES, IOCONNECT)

    (throughput, latency), (worse,) = bars(text, 0), bars(text, 1)
    assert throughput == latency  # twice as good, both
    assert worse[0] + worse[1] == pytest.approx(throughput[0])  # half as good ends where twice as good begins
    assert worse[1] == pytest.approx(throughput[1])


def test_the_chart_of_nothing_is_still_a_picture() -> None:
    assert bars(chart.svg(Samples(), TITLES, IOCONNECT), 0) == []
