"""The benchmark runs: a number that cannot be taken again is worth nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.rigs import processes

ROOT = Path(__file__).parents[2]


def test_the_benchmark_measures_us_beside_openssh_on_a_real_jumphost(tmp_path: Path) -> None:
    """Bulk both ways over one and eight connections, a ping-pong beside a bulk transfer, and new connections."""
    processes.need_program("sshd", package="openssh-server")
    figures = tmp_path / "figures.json"
    loads = "out1,in8,ping1,churn,status"
    argv = [sys.executable, "-m", "benchmarks", "--quick", "--only", loads, "--json", str(figures)]

    done = subprocess.run(
        [*argv, "--contestants", "ioconnect,openssh-gcm,tcp", "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    taken = json.loads(figures.read_text())
    for measure in ("out1", "in8", "ping1_p50", "churn", "churn_cpu"):
        assert min(taken[measure]["ioconnect"]) > 0
        assert min(taken[measure]["openssh-gcm"]) > 0
    assert min(taken["status_to_file"]["ioconnect"]) > 0
    assert "ioconnect, divided by" in (tmp_path / "RESULTS.md").read_text()
    assert (tmp_path / "chart.svg").read_text().startswith("<svg ")
