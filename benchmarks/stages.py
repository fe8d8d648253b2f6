"""The order of things: who is up when, and which load runs on whom, interleaved A B A B."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import gauges, loads, postgres
from benchmarks.contestants import KEEPALIVE_SECONDS, Contestant, Entry, entered, ioconnect
from benchmarks.jumphost import stand_in_for
from benchmarks.measures import EVERYONE, IOCONNECT, PLAIN
from benchmarks.processes import BenchmarkFailed, companion
from benchmarks.status_command import status_figures

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.jumphost import Jumphost
    from benchmarks.loads import Figures, Sizes
    from benchmarks.samples import Samples

Load = Callable[[Entry], "Figures"]

NEAR = ("out1", "in1", "out8", "in8", "ping", "ping1", "ping8", "churn")
FAR, PGBENCH, PGBENCH_SELECT, IDLE, STUB, STATUS = "far", "pgbench", "pgbench_select", "idle", "stub", "status"
ALL = (*NEAR, FAR, PGBENCH, PGBENCH_SELECT, IDLE, STUB, STATUS)

FAR_ROUND_TRIP_MS = 80
_FURTHER_TUNNELS = 9
_NEVER = 3600  # a keepalive interval longer than any run
_SETTLE_SECONDS = 3.0
# What one contestant or one stage may run into without ending the others.
_TROUBLE = (OSError, BenchmarkFailed, subprocess.SubprocessError)


@dataclass(frozen=True, slots=True)
class Run:
    """What was asked for, and where the figures go."""

    contestants: list[Contestant]
    wanted: frozenset[str]  # of ALL
    sizes: Sizes
    rounds: int
    deadline: float  # monotonic; no round but the first starts after it
    samples: Samples
    out_of_it: set[tuple[str, str]] = field(default_factory=set)  # (contestant, load) that failed once


def run_all(run: Run, jumphost: Jumphost) -> None:
    """Go through every stage that has a wanted load; one that cannot take place is reported and left out."""
    with companion("endpoint") as line:
        endpoint = int(line)
        if run.wanted & set(NEAR):
            _attempt(run, "near", partial(near, run, jumphost, endpoint))
        if FAR in run.wanted:
            _attempt(run, FAR, partial(far, run, jumphost, endpoint))
        if IDLE in run.wanted:
            _attempt(run, IDLE, partial(idle, run, jumphost, endpoint))
        if STUB in run.wanted:
            _attempt(run, STUB, partial(stub, run, jumphost, endpoint))
        if STATUS in run.wanted:
            _attempt(run, STATUS, partial(status, run, jumphost, endpoint))
    folder = postgres.programs()
    if run.wanted & {PGBENCH, PGBENCH_SELECT} and folder is not None:
        _attempt(run, PGBENCH, partial(database, run, jumphost, folder))


def _attempt(run: Run, name: str, stage: Callable[[], None]) -> None:
    try:
        stage()
    except _TROUBLE as error:
        run.samples.fail(EVERYONE, name, str(error) or type(error).__name__)


def near(run: Run, jumphost: Jumphost, endpoint: int) -> None:
    """Everything that needs no delay, and what is resident after it."""
    menu: dict[str, Load] = {}
    for key in NEAR:
        if key.startswith(("out", "in")):
            menu[key] = partial(_bulk, key, run.sizes)
        elif key.startswith("ping"):
            menu[key] = partial(_ping, key, run.sizes)
        else:
            menu[key] = partial(_churn, run.sizes)
    with contextlib.ExitStack() as stack:
        entries = _enter_all(run, stack, jumphost, endpoint)
        interleave(run, entries, menu)
        for entry in entries:
            _gauge(run, entry, "rss_loaded", _resident)


def far(run: Run, jumphost: Jumphost, endpoint: int) -> None:
    """One upload with a long link between client and jumphost; plain TCP has no such link to compare."""
    with contextlib.ExitStack() as stack:
        relay = stack.enter_context(companion("delay", str(jumphost.port), str(FAR_ROUND_TRIP_MS / 2)))
        entries = _enter_all(run, stack, jumphost, endpoint, ssh_port=int(relay))
        interleave(
            run, [entry for entry in entries if entry.contestant.key != PLAIN], {FAR: partial(_far, run.sizes)}
        )


def database(run: Run, jumphost: Jumphost, folder: Path) -> None:
    """Pgbench through each tunnel: its usual transaction, and single-row queries."""
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(postgres.postgres(folder))
        entries = _enter_all(run, stack, jumphost, target)
        seconds = run.sizes.pgbench_seconds
        interleave(
            run,
            entries,
            {
                PGBENCH: partial(_pgbench, PGBENCH, (), folder, seconds),
                PGBENCH_SELECT: partial(_pgbench, PGBENCH_SELECT, ("-S",), folder, seconds),
            },
        )


def idle(run: Run, jumphost: Jumphost, endpoint: int) -> None:
    """Three of each, all at once, left alone: silent, with keepalives, with ten tunnels."""
    seconds = run.sizes.idle_seconds
    with contextlib.ExitStack() as stack:
        silent = _enter_all(run, stack, jumphost, endpoint, keepalive=_NEVER)
        probing = _enter_all(run, stack, jumphost, endpoint)
        many = _enter_all(run, stack, jumphost, endpoint, keepalive=_NEVER, tunnels=1 + _FURTHER_TUNNELS)
        time.sleep(_SETTLE_SECONDS)
        before = {id(entry): (gauges.wake_ups(entry.pids), entry.cpu()) for entry in silent + probing}
        _say(f"idle: {seconds:.0f} s, keepalives every {KEEPALIVE_SECONDS} s")
        time.sleep(seconds)

        def woken(entry: Entry) -> float:
            return gauges.wake_ups(entry.pids) - before[id(entry)][0]

        def percent(entry: Entry) -> float:
            return (entry.cpu() - before[id(entry)][1]) / seconds * 100

        for entry in silent:
            _gauge(run, entry, "idle_wakeups", woken)
            _gauge(run, entry, "rss_one", _resident)
        for entry in probing:
            _gauge(run, entry, "idle_keepalive_wakeups", woken)
            _gauge(run, entry, "idle_cpu", percent)
        for entry in many:
            one = run.samples.median("rss_one", entry.contestant.key)
            if one is not None:
                _gauge(run, entry, "rss_further", partial(_further, one))


def stub(run: Run, jumphost: Jumphost, endpoint: int) -> None:
    """The same agent on sshd and on the stub: the stub's throughput, divided by sshd's of the same round."""
    ours = Contestant(IOCONNECT, "ioconnect", ioconnect)
    with contextlib.ExitStack() as stack:
        stand_in = stack.enter_context(stand_in_for(jumphost))
        on_sshd, on_stub = (
            stack.enter_context(entered(ours, server, target_port=endpoint)) for server in (jumphost, stand_in)
        )
        for number in range(run.rounds):
            for key in ("out1", "in1"):
                _say(f"round {number + 1} of {run.rounds}: the stub, {key}")
                rates = {id(entry): _bulk(key, run.sizes, entry)[key] for entry in (on_sshd, on_stub)}
                run.samples.add(f"stub_{key}", IOCONNECT, rates[id(on_stub)] / rates[id(on_sshd)])


def status(run: Run, jumphost: Jumphost, endpoint: int) -> None:
    """`ioconnect status` beside an idle agent: asked over the control socket, and read from the file instead."""
    ours = Contestant(IOCONNECT, "ioconnect", ioconnect)
    with entered(ours, jumphost, target_port=endpoint) as entry:
        for number in range(run.rounds):
            _say(f"round {number + 1} of {run.rounds}: status")
            for measure, figure in status_figures(entry.folder).items():
                run.samples.add(measure, IOCONNECT, figure)


def _gauge(run: Run, entry: Entry, measure: str, figure: Callable[[Entry], float]) -> None:
    """Take one figure of the contestant's processes, if it has any and they live."""
    if not entry.pids:
        return
    try:
        entry.check()
        run.samples.add(measure, entry.contestant.key, figure(entry))
    except _TROUBLE as error:
        run.samples.fail(entry.contestant.key, measure, str(error))


def _resident(entry: Entry) -> float:
    return gauges.resident_bytes(entry.pids) / 1e6


def _further(one: float, entry: Entry) -> float:
    return (_resident(entry) - one) / _FURTHER_TUNNELS


def interleave(run: Run, entries: list[Entry], menu: dict[str, Load]) -> None:
    """Every wanted load on every entry, next to each other in time, again each round in another order."""
    for number in range(run.rounds):
        if number > 0 and time.monotonic() > run.deadline:
            _say(f"time is up after {number} rounds")
            return
        turn = number % max(1, len(entries))
        for key, load in menu.items():
            if key in run.wanted:
                _say(f"round {number + 1} of {run.rounds}: {key}")
                for entry in entries[turn:] + entries[:turn]:
                    _measure(run, entry, key, load)


def _measure(run: Run, entry: Entry, key: str, load: Load) -> None:
    name = entry.contestant.key
    if (name, key) in run.out_of_it:
        return
    try:
        entry.check()
        figures = load(entry)
    except _TROUBLE as error:
        run.out_of_it.add((name, key))
        run.samples.fail(name, key, str(error) or type(error).__name__)
        return
    for measure, figure in figures.items():
        if entry.pids or not measure.endswith("_cpu"):  # no process, no CPU of it
            run.samples.add(measure, name, figure)


def _enter_all(
    run: Run,
    stack: contextlib.ExitStack,
    jumphost: Jumphost,
    target_port: int,
    *,
    ssh_port: int | None = None,
    tunnels: int = 1,
    keepalive: int = KEEPALIVE_SECONDS,
) -> list[Entry]:
    """Bring up everyone who can; the others are reported and left out."""
    entries = []
    for contestant in run.contestants:
        start = entered(
            contestant, jumphost, target_port=target_port, ssh_port=ssh_port, tunnels=tunnels, keepalive=keepalive
        )
        try:
            entries.append(stack.enter_context(start))
        except BenchmarkFailed as error:
            run.samples.fail(contestant.key, "coming up", str(error))
    return entries


def _bulk(key: str, sizes: Sizes, entry: Entry) -> Figures:
    return loads.bulk_figures(key, entry.port, entry.cpu, sizes.bulk_bytes)


def _ping(key: str, sizes: Sizes, entry: Entry) -> Figures:
    return loads.ping_figures(key, entry.port, sizes)


def _churn(sizes: Sizes, entry: Entry) -> Figures:
    return loads.churn_figures(entry.port, entry.cpu, sizes)


def _far(sizes: Sizes, entry: Entry) -> Figures:
    seconds = loads.bulk(loads.upload, port=entry.port, connections=1, size=sizes.far_bytes)
    return {FAR: sizes.far_bytes / loads.MEGABYTE / seconds}


def _pgbench(key: str, options: tuple[str, ...], folder: Path, seconds: int, entry: Entry) -> Figures:
    used = entry.cpu()
    rate = postgres.transactions_per_second(folder, entry.port, *options, seconds=seconds)
    return {key: rate, f"{key}_cpu": (entry.cpu() - used) / (rate * seconds) * 1e6}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
