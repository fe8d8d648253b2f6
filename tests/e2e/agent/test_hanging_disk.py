"""On a real disk that hangs: an agent that answers is reached, and else every command says what hangs, in time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.rigs import hanging_disk, processes, small_disk

from ioconnect.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.rigs.agent_scene import AgentScene

TIMEOUT = 5.0  # seconds for a command: 2 for the answer or the disk, and what it takes to start on a busy machine
HANGS = "its disk does not answer within 1 s"


@contextlib.contextmanager
def hanging(scene: AgentScene, folder: Path, log: Path) -> Iterator[None]:
    """Have the disk of this folder hang for the customer's commands; a running agent has it as it was."""
    command = scene.customer.command
    with hanging_disk.over(folder, log) as enter:
        scene.customer.command = [*enter, *command]
        try:
            yield
        finally:
            scene.customer.command = command


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "disk.log"


def asked(scene: AgentScene, *arguments: str) -> Any:
    """Run a command, which must end in time, and return what it said, in one line."""
    began = time.monotonic()
    done = scene.customer.try_run(*arguments)
    assert time.monotonic() - began < TIMEOUT, arguments
    done.said = " ".join((done.stdout + done.stderr).split())
    return done


def test_an_agent_that_answers_counts_though_its_state_cannot_be_examined(running: AgentScene, log: Path) -> None:
    pid = running.customer.agent_pid()
    with hanging(running, running.paths.state, log):
        status = asked(running, "status", "--json")
        assert (status.returncode, json.loads(status.stdout)["agent"]["pid"]) == (0, pid)
        assert asked(running, "status", "--check").returncode == 0
        assert "left alone orders" in asked(running, "reload").said
        assert f"already running (pid {pid})" in asked(running, "up", "--daemon").said
        assert "Stopped orders" in asked(running, "down", "orders").said
        down = asked(running, "down", "--json")
        assert (down.returncode, f"Stopped the agent (pid {pid})" in down.said) == (0, True), down.said
        assert [each["outcome"] for each in json.loads(down.stdout)["tunnels"]] == ["unchanged"]
    processes.wait_until(lambda: not processes.is_alive(pid))


def test_while_nobody_answers_it_is_said_what_hangs(scene: AgentScene, log: Path) -> None:
    scene.customer.run("up", "--daemon")
    scene.customer.run("down")
    with hanging(scene, scene.paths.state, log):
        for arguments in (("status",), ("status", "--json"), ("down",), ("up",), ("up", "--daemon"), ("reload",)):
            done = asked(scene, *arguments)
            assert done.returncode == ExitCode.OS_ERROR, arguments
            assert f"{scene.paths.lock}: {HANGS}" in done.said
            assert "Look at that disk" in done.said
        assert asked(scene, "status", "--check").returncode == ExitCode.OS_ERROR
        saved = asked(scene, "register", "stock", "--endpoint", "127.0.0.1:58115", "--to", "db:3306")
        assert (saved.returncode, saved.stdout) == (0, "stock\n"), saved.said


def test_a_frozen_agent_is_said_with_the_disk(running: AgentScene, log: Path) -> None:
    pid = running.customer.agent_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        with hanging(running, running.paths.state, log):
            done = asked(running, "status")
    finally:
        os.kill(pid, signal.SIGCONT)

    assert done.returncode == ExitCode.UNAVAILABLE
    assert f"no answer from the agent (pid {pid}) within 2 s" in done.said
    assert HANGS in done.said


def test_a_home_that_hangs_as_a_whole(running: AgentScene, log: Path) -> None:
    """Its control socket as well."""
    with hanging(running, running.customer.home, log):
        done = asked(running, "status")
    assert (done.returncode, HANGS in done.said) == (ExitCode.OS_ERROR, True)


@pytest.mark.parametrize("folder", ["state", "config.d"])
def test_an_agent_answers_whose_own_disk_hangs(scene: AgentScene, tmp_path: Path, log: Path, folder: str) -> None:
    with small_disk.below(scene, tmp_path) as disk:
        (disk.seen / "config.d").mkdir()
        scene.customer.run("up", "--daemon")
        with hanging_disk.over(disk.at / folder, log, inside=disk.enter):
            for _ in range(10):  # more than it has places for clients
                done = asked(scene, "status", "--json")
                assert done.returncode == 0
                is_read = folder == "state"
                assert json.loads(done.stdout)["agent"]["config_current"] is (True if is_read else None)
