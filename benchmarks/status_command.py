"""How long `ioconnect status --json` takes: asked over the control socket, and read from the status file.

Both are whole commands, each in a fresh process: that is what a person or a probe waits for.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from benchmarks.processes import BenchmarkFailed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.loads import Figures

_PAIRS = 20
_DEADLINE_SECONDS = 20.0
_ASKED = "import sys; from ioconnect.cli import main; sys.exit(main())"
_FROM_FILE = """
import sys
from ioconnect.commands.inspect import status
from ioconnect.status import snapshots
status.observe = lambda paths, _: snapshots.read(paths.status)
from ioconnect.cli import main
sys.exit(main())
"""


def status_figures(home: Path) -> Figures:
    """Medians of the command by turns, for the agent whose IOCONNECT_HOME this is: milliseconds, and their ratio."""
    asked: list[float] = []
    from_file: list[float] = []
    for _ in range(_PAIRS):
        asked.append(_seconds([sys.executable, "-c", _ASKED, "status", "--json"], home))
        from_file.append(_seconds([sys.executable, "-c", _FROM_FILE, "status", "--json"], home))
    median = statistics.median(asked)
    return {"status_p50": median * 1e3, "status_to_file": median / statistics.median(from_file)}


def _seconds(argv: Sequence[str], home: Path) -> float:
    began = time.perf_counter()
    done = subprocess.run(
        argv,
        env={**os.environ, "IOCONNECT_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=_DEADLINE_SECONDS,
        check=False,
    )
    took = time.perf_counter() - began
    if done.returncode != 0 or '"state": "connected"' not in done.stdout:
        raise BenchmarkFailed(f"status left with {done.returncode}: {done.stderr or done.stdout}")
    return took
