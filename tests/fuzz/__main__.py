"""Fuzzes every target for so long: `./run fuzz`, `make fuzz SECONDS=60`.

Each target runs in a process of its own, as many at a time as there are processors. What is found is made small, kept
in tests/fuzz/corpus, where tests/unit/test_fuzz_corpus.py runs it from then on, and said; then the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import fuzzing, registry
from tests.fuzz.minimize import minimized

GRACE = 30.0  # seconds beyond its slice after which a process hangs
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one target: what to print, and whether it is a finding."""

    name: str
    text: str
    bad: bool


def fuzz(name: str, seconds: float, engine: str, folder: Path) -> Outcome:
    """Run one slice."""
    current = folder / name
    command = [sys.executable, "-m", "tests.fuzz", "--slice", name, "--seconds", f"{seconds:g}", "--engine", engine]
    process = subprocess.Popen(
        [*command, "--current", str(current)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    try:
        out, errors = process.communicate(timeout=seconds + GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return Outcome(name, f"hang: no end; the input is {_kept(name, current)}", bad=True)
    said = out.decode(errors="replace").strip()
    if process.returncode == 0:
        runs, _, taken = said.rpartition("\n")[2].partition(" ")
        return Outcome(name, f"{runs} inputs, {taken} taken", bad=False)
    if process.returncode == 1 and said.startswith(str(fuzzing.CORPUS)):
        file, _, why = said.partition(" ")
        return Outcome(name, f"{why}; the input is {file}", bad=True)
    last = errors.decode(errors="replace").strip()[-2000:]
    return Outcome(name, f"died ({process.returncode}); the input is {_kept(name, current)}\n{last}", bad=True)


def _kept(name: str, current: Path) -> str:
    content = current.read_bytes() if current.exists() else b""
    size = int.from_bytes(content[: fuzzing.HEADER], "big")
    return str(fuzzing.save(name, content[fuzzing.HEADER : fuzzing.HEADER + size]))


def fuzz_all(names: list[str], seconds: float, engine: str, jobs: int) -> int:
    """Run every target's slice; return the exit code."""
    began, found = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="ioconnect-fuzz-") as folder, ThreadPoolExecutor(jobs) as pool:
        waiting = [pool.submit(fuzz, name, seconds, engine, Path(folder)) for name in names]
        for each in waiting:
            outcome = each.result()
            print(f"{'FOUND' if outcome.bad else 'ok':5}  {outcome.name:20} {outcome.text}", flush=True)
            found += [outcome.name] if outcome.bad else []
    for name in found:
        minimized(name)
    took = time.monotonic() - began
    print(f"{len(names)} targets, {seconds:g} s each by {engine}, {took:.0f} s in all: {len(found)} findings")
    return 1 if found else 0


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="./run fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"targets (all): {', '.join(registry.NAMES)}")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each target (10)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="targets at a time (processors)")
    default = "atheris" if fuzzing.has_atheris() else "hypothesis"
    parser.add_argument("--engine", choices=fuzzing.ENGINES, default=default, help=f"({default})")
    parser.add_argument("--slice", help=argparse.SUPPRESS)
    parser.add_argument("--current", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.slice:
        fuzzing.run(options.slice, options.seconds, options.engine, options.current)
    unknown = sorted(set(options.names) - set(registry.NAMES))
    if unknown:
        parser.error(f"no such target: {', '.join(unknown)}")
    return fuzz_all(options.names or list(registry.NAMES), options.seconds, options.engine, options.jobs)


if __name__ == "__main__":
    sys.exit(main())
