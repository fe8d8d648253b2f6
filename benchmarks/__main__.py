"""`python -m benchmarks`: run everything, print the table, write RESULTS.md and chart.svg."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import chart, contestants, machine, postgres, report, stages
from benchmarks.jumphost import jumphost
from benchmarks.loads import QUICK, Sizes
from benchmarks.measures import EVERYONE, IOCONNECT
from benchmarks.processes import BenchmarkFailed
from benchmarks.samples import Samples

_HERE = Path(__file__).parent


def main() -> int:
    """Run what the command line asks for; 1 if ours failed anything, or a whole stage did, or nothing could start."""
    # A polite end from outside unwinds like any other, so nothing that we started outlives us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    options = _options()
    everyone = contestants.available(options.prototype, options.baseline)
    chosen = [one for one in everyone if not options.contestants or one.key in options.contestants]
    if options.ours not in {one.key for one in chosen}:
        raise SystemExit(f"{options.ours} does not take part")
    samples = Samples()
    if postgres.programs() is None:
        samples.fail("PostgreSQL", "pgbench", "left out: not installed")
    for key in options.contestants or ():
        if key not in {one.key for one in everyone}:
            samples.fail(key, "everything", "left out: unknown or not installed")
    run = stages.Run(
        contestants=chosen,
        wanted=frozenset(options.only or stages.ALL),
        sizes=QUICK if options.quick else Sizes(),
        rounds=options.rounds or (1 if options.quick else 5),
        deadline=time.monotonic() + options.minutes * 60,
        samples=samples,
    )
    with tempfile.TemporaryDirectory(prefix="bench-jumphost-") as folder:
        try:
            with jumphost(Path(folder)) as server:
                description = machine.description(server.banner)
                stages.run_all(run, server)
        except BenchmarkFailed as error:
            print(error, file=sys.stderr)
            return 1
    if options.json is not None:
        options.json.write_text(json.dumps(samples.as_json(), indent=1), encoding="utf-8")
    titles = {one.key: one.title for one in chosen}
    text = report.markdown(samples, titles, options.ours, description)
    print(text)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "RESULTS.md").write_text(text, encoding="utf-8")
        (options.out / "chart.svg").write_text(chart.svg(samples, titles, options.ours), encoding="utf-8")
    return 1 if any(failure.startswith((f"{options.ours}:", f"{EVERYONE}:")) for failure in samples.failures) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one small round, to see that it works; writes no files")
    parser.add_argument("--rounds", type=int, help="rounds of each load (5)")
    parser.add_argument("--minutes", type=float, default=30.0, help="only first rounds start after this long (30)")
    parser.add_argument("--only", type=_loads, help=f"loads, of: {','.join(stages.ALL)}")
    parser.add_argument("--contestants", type=lambda text: text.split(","), help="their keys, with commas")
    parser.add_argument(
        "--prototype", type=Path, help="a script to measure beside: HOST PORT USER KEY PORT HOST PORT"
    )
    parser.add_argument("--baseline", type=Path, help="the interpreter of an environment with another release")
    parser.add_argument("--ours", default=IOCONNECT, help="the contestant whose ratios are shown (ioconnect)")
    parser.add_argument("--out", type=Path, help="the folder for RESULTS.md and chart.svg (this one, unless --quick)")
    parser.add_argument("--json", type=Path, help="a file for every single figure")
    options = parser.parse_args()
    if options.out is None and not options.quick and options.only is None and options.contestants is None:
        options.out = _HERE  # only a whole run replaces the published results
    return options


def _loads(text: str) -> list[str]:
    """An argparse type: keys of loads with commas between."""
    keys = text.split(",")
    unknown = sorted(set(keys) - set(stages.ALL))
    if unknown:
        raise argparse.ArgumentTypeError(f"no such load: {', '.join(unknown)}")
    return keys


if __name__ == "__main__":
    raise SystemExit(main())
