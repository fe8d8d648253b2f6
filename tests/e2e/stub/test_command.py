"""`ioconnect stub` as a process: its line, its home, its signals."""

from __future__ import annotations

import json
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.rigs import processes

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path


def started(log: Path, *arguments: str) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """Start the command; return it and its line once that is out."""
    log.unlink(missing_ok=True)
    process = processes.start([sys.executable, "-m", "ioconnect", "stub", *arguments], log=log)
    processes.wait_until(lambda: process.poll() is not None or "}\n" in log.read_text(), what="the stub is ready")
    return process, json.loads(next(line for line in log.read_text().splitlines() if line.startswith("{")))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_runs_until_a_signal(tmp_path: Path, number: signal.Signals, code: int) -> None:
    port = processes.free_port()  # one of the kernel's choice might be somebody else's a moment later
    process, line = started(tmp_path / "log", "--listen", f"127.0.0.1:{port}")

    assert line["ssh"] == f"127.0.0.1:{port}"
    assert set(line) == {"ssh", "api", "host_key", "fingerprint", "token"}
    assert processes.first_bytes(port).startswith(b"SSH-2.0-")
    assert processes.end(process, by=number) == code
    assert not processes.listens(port)


def test_with_a_home_it_is_the_same_jumphost_again(tmp_path: Path) -> None:
    lines = []
    for _ in range(2):
        process, line = started(tmp_path / "log", "--home", str(tmp_path / "home"))
        lines.append({key: line[key] for key in ("host_key", "fingerprint", "token")})
        processes.end(process)

    assert lines[0] == lines[1]
    assert "authorized_keys may sign in" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--listen", "0.0.0.0:0"], 64),
        (["--api", "0.0.0.0:0"], 64),
        (["--listen", "127.0.0.1"], 64),
        (["--listen", "127.0.0.1:70000"], 64),
        (["--listen", "x y:0"], 64),
    ],
)
def test_an_address_that_it_will_not_take(arguments: list[str], code: int) -> None:
    done = processes.run([sys.executable, "-m", "ioconnect", "stub", *arguments])

    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    process, line = started(tmp_path / "log")
    done = processes.run([sys.executable, "-m", "ioconnect", "stub", "--listen", line["ssh"]])
    processes.end(process)

    assert (done.returncode, done.stdout) == (71, "")
    assert "cannot listen on" in done.stderr
