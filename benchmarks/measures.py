"""What is measured, in which unit, which way is better, and what part 2's table of numbers asks for.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

# The contestants' keys.
IOCONNECT, OPENSSH, OPENSSH_GCM = "ioconnect", "openssh", "openssh-gcm"
ASYNCSSH, PLAIN, PROTOTYPE, BASELINE = "asyncssh", "tcp", "prototype", "baseline"
EVERYONE = "everyone"  # what failed before any of them had its turn


@dataclass(frozen=True, slots=True)
class Goal:
    """Ours divided by `reference` is to be at least `bound` where more is better, at most `bound` where less is."""

    reference: str
    bound: float


@dataclass(frozen=True, slots=True)
class Measure:
    """One row: figures of this key are compared between contestants."""

    key: str
    title: str
    unit: str
    more_is_better: bool
    goals: tuple[Goal, ...] = ()
    charted: bool = False

    def meets(self, goal: Goal, ratio: float) -> bool:
        """Whether ours/reference = `ratio` satisfies the goal."""
        return ratio >= goal.bound if self.more_is_better else ratio <= goal.bound


@dataclass(frozen=True, slots=True)
class Fact:
    """One row of absolute figures, with the most or the least that ours may show, if there is a goal."""

    key: str
    title: str
    form: str  # how one figure is written
    most: float | None = None
    least: float | None = None

    @property
    def goal(self) -> str:
        """The goal in words, if there is one."""
        if self.most is not None:
            return f"≤ {self.most:g}"
        return "" if self.least is None else f"≥ {self.least:g}"

    def meets(self, figure: float | None) -> bool | None:
        """Whether the figure is within both bounds; None without a figure."""
        if figure is None:
            return None
        return (self.most is None or figure <= self.most) and (self.least is None or figure >= self.least)


_ONE = (Goal(OPENSSH, 1.3), Goal(OPENSSH_GCM, 1.0))
_EIGHT = (Goal(OPENSSH, 1.4), Goal(OPENSSH_GCM, 1.1))
_CPU = (Goal(OPENSSH_GCM, 1.0),)
_LATENCY = (Goal(OPENSSH, 1.1),)

MEASURES = (
    Measure("out1", "bulk, database → pipeline", "MB/s", True, _ONE, charted=True),
    Measure("in1", "bulk, pipeline → database", "MB/s", True, _ONE, charted=True),
    Measure("out8", "eight at once, database → pipeline", "MB/s", True, _EIGHT, charted=True),
    Measure("in8", "eight at once, pipeline → database", "MB/s", True, _EIGHT, charted=True),
    Measure("out1_cpu", "CPU per GB, database → pipeline", "s/GB", False, _CPU, charted=True),
    Measure("in1_cpu", "CPU per GB, pipeline → database", "s/GB", False, _CPU, charted=True),
    Measure("out8_cpu", "CPU per GB, eight at once, database → pipeline", "s/GB", False, _CPU),
    Measure("in8_cpu", "CPU per GB, eight at once, pipeline → database", "s/GB", False, _CPU),
    Measure(
        "churn", "new connections per second, one after another", "1/s", True, (Goal(OPENSSH, 10.0),), charted=True
    ),
    Measure("churn_cpu", "CPU per new connection", "ms", False, (Goal(PROTOTYPE, 0.5),)),
    Measure("ping_p50", "round trip of 64 bytes, median", "µs", False, _LATENCY, charted=True),
    Measure("ping_p99", "round trip of 64 bytes, 99th percentile", "µs", False),
    Measure("ping1_p50", "the same beside one bulk transfer, median", "µs", False),
    Measure("ping1_p99", "the same beside one bulk transfer, 99th percentile", "µs", False),
    Measure("ping8_p50", "the same beside eight bulk transfers, median", "µs", False),
    Measure("ping8_p99", "the same beside eight bulk transfers, 99th percentile", "µs", False),
    Measure("far", "pipeline → database over an 80 ms round trip", "MB/s", True, (Goal(OPENSSH, 3.0),), charted=True),
    Measure("pgbench", "pgbench -c 8", "tps", True, (Goal(OPENSSH, 1.0),), charted=True),
    Measure("pgbench_select", "pgbench -S -c 8", "tps", True, (Goal(OPENSSH, 1.0),), charted=True),
    Measure("pgbench_cpu", "CPU per transaction of pgbench -c 8", "µs", False),
    Measure("pgbench_select_cpu", "CPU per query of pgbench -S -c 8", "µs", False),
)

FACTS = (
    Fact("ping_p50", "round trip of 64 bytes, median", "{:.0f} µs"),
    Fact("ping_p99", "round trip of 64 bytes, 99th percentile", "{:.0f} µs"),
    # "One bulk transfer must not add more than a few milliseconds."
    Fact("ping1_p50", "the same beside one bulk transfer, median", "{:.0f} µs", most=3000),
    Fact("ping1_p99", "the same beside one bulk transfer, 99th percentile", "{:.0f} µs"),
    Fact("ping8_p50", "the same beside eight bulk transfers, median", "{:.0f} µs"),
    Fact("ping8_p99", "the same beside eight bulk transfers, 99th percentile", "{:.0f} µs"),
    Fact("idle_wakeups", "wake-ups while idle, without keepalives", "{:.0f}", most=0),
    Fact("idle_keepalive_wakeups", "wake-ups while idle, keepalives every 10 s", "{:.0f}"),
    Fact("idle_cpu", "CPU while idle, keepalives every 10 s, percent of a core", "{:.2f} %", most=0.05),
    Fact("rss_one", "resident with one tunnel", "{:.1f} MB", most=50),
    Fact("rss_further", "resident for each further idle tunnel", "{:.2f} MB", most=1),
    Fact("rss_loaded", "resident after all the loads above", "{:.1f} MB"),
    Fact("status_p50", "`ioconnect status --json`, the whole command, median", "{:.0f} ms"),
    Fact("status_to_file", "the same, divided by reading the status file instead", "{:.2f}", most=1.2),
    Fact("stub_out1", "the stub's throughput divided by sshd's, database → pipeline", "{:.2f}", least=0.7),
    Fact("stub_in1", "the stub's throughput divided by sshd's, pipeline → database", "{:.2f}", least=0.7),
)
