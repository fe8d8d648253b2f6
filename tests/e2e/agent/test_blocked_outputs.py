"""What hangs outside of the agent, hangs alone: its log, its files, its service manager, its supervisor."""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.rigs.agent_scene import AgentScene

STOP = 5.0  # seconds within which TERM ends the agent, whatever hangs
NEEDS = 1.5  # seconds that a busy machine may add


def start(scene: AgentScene, *command: str, stderr: int, **environment: str) -> subprocess.Popen[bytes]:
    """Start an agent in the foreground and wait until its tunnel is connected, and said to be."""
    env = {**scene.customer.environment, **environment}
    argv = command or (*scene.customer.command, "-v", "up")
    agent = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr, env=env)
    processes.wait_until(lambda: processes.listens(scene.port), deadline=20, what="the tunnel is up")
    scene.customer.wait_for("connected", "orders")  # the jumphost listens a moment before the agent knows it
    return agent


def fill(descriptor: int) -> int:
    """Write to a pipe that nobody reads until it takes no more; return how much that was."""
    count = 0
    while select.select([], [descriptor], [], 0)[1]:
        count += os.write(descriptor, b"x" * select.PIPE_BUF)  # never more than there is room for
    return count


def end(agent: subprocess.Popen[bytes]) -> tuple[int, float]:
    """Send TERM; return the exit code and how long it took."""
    began = time.monotonic()
    agent.send_signal(signal.SIGTERM)
    try:
        code = agent.wait(15)
    finally:
        agent.kill()
        agent.wait()
    return code, time.monotonic() - began


def test_a_pipe_on_standard_error_that_nobody_reads(scene: AgentScene) -> None:
    """A blocking log driver of a container, Ctrl-S, a supervisor that hangs: full at 64 KiB, for ever."""
    reading, writing = os.pipe()
    assert fill(writing) >= 4096
    agent = start(scene, stderr=writing)
    os.close(writing)

    assert all(scene.carries() for _ in range(50))
    scene.rig.faults.drop()
    processes.wait_until(lambda: processes.listens(scene.port) and scene.carries(), what="the tunnel is up again")
    assert scene.customer.tunnel("orders")["reconnects"] == 1
    code, took = end(agent)
    os.close(reading)

    assert code == 0
    assert took < STOP + NEEDS


def test_the_log_goes_on_when_it_is_read_again(scene: AgentScene) -> None:
    reading, writing = os.pipe()
    filled = fill(writing)
    agent = start(scene, stderr=writing)
    os.close(writing)
    said: list[bytes] = []

    def read() -> None:
        while piece := os.read(reading, 65536):
            said.append(piece)

    reader = threading.Thread(target=read)
    reader.start()
    code, _ = end(agent)
    reader.join(5)
    os.close(reading)
    text = b"".join(said)[filled:].decode()

    assert code == 0
    assert "INFO orders: connected" in text
    assert text.splitlines()[-1].endswith("INFO ended, code 0")


def test_a_log_file_that_hangs(scene: AgentScene) -> None:
    """A named pipe stands for the file on a disk that hangs."""
    scene.paths.log.parent.mkdir()
    os.mkfifo(scene.paths.log)
    reading = os.open(scene.paths.log, os.O_RDWR)
    fill(reading)
    scene.customer.run("up", "--daemon")

    assert all(scene.carries() for _ in range(50))
    began = time.monotonic()
    scene.customer.run("down")
    assert time.monotonic() - began < STOP + NEEDS
    assert not processes.listens(scene.port)
    assert "not a regular file" in scene.customer.try_run("logs").stderr
    os.close(reading)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="Linux limits the files of another process")
def test_a_full_disk(scene: AgentScene) -> None:
    """The tunnel comes back while nothing can be written, and the log says afterwards how much is missing."""
    scene.customer.run("up", "--daemon")
    pid = scene.customer.agent_pid()
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
    scene.rig.faults.drop()
    processes.wait_until(lambda: processes.listens(scene.port) and scene.carries(), what="the tunnel is up again")
    resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    scene.rig.faults.drop()
    processes.wait_until(lambda: "lines were lost" in scene.customer.log_text(), what="the log says what is missing")

    lines = scene.customer.log_text().splitlines()
    assert [line for line in lines if "WARNING" in line and line.endswith("could not be written")]
    assert all(line.startswith("20") for line in lines)  # no half of a line
    scene.customer.wait_for("connected", "orders")
    scene.customer.run("down")


def test_a_service_manager_that_reads_no_notification(scene: AgentScene, tmp_path: Path) -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler,
    ):
        deaf.bind(str(tmp_path / "notify"))
        filler.connect(str(tmp_path / "notify"))
        while select.select([], [filler], [], 0)[1]:
            filler.send(b"x" * 100)
        variables = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        agent = start(scene, stderr=subprocess.DEVNULL, **variables)
        assert all(scene.carries() for _ in range(20))
        code, took = end(agent)

    assert code == 0
    assert took < STOP + NEEDS


def test_a_supervisor_that_hangs(scene: AgentScene) -> None:
    """A system call that does not return: TERM ends the process all the same, with TERM's code."""
    hanging = (
        "import sys, time; from ioconnect.agent.supervisor import supervisor; from ioconnect.cli import main; "
        "supervisor.Supervisor._stop = lambda *_: time.sleep(60); sys.argv = ['ioconnect', 'up']; sys.exit(main())"
    )
    agent = start(scene, sys.executable, "-c", hanging, stderr=subprocess.DEVNULL)
    code, took = end(agent)

    assert code == 0
    assert took < STOP + NEEDS
