"""A running agent whose state folder was removed or renamed: no command takes it for ended, none starts a second."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes, stub
from tests.rigs.agent_scene import AgentScene
from tests.rigs.database import Database, pull

from ioconnect.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["removed", "renamed and made anew", "lock alone"])
def gone(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[AgentScene]:
    """A customer whose agent runs, with its state gone in this way."""
    with stub.running(tmp_path / "stub") as rig, Database() as database:
        scene = AgentScene(tmp_path / "home", rig, database)
        scene.customer.run("up", "--daemon")
        pid = scene.customer.agent_pid()
        if request.param == "removed":
            shutil.rmtree(scene.paths.state)
        elif request.param == "lock alone":
            scene.paths.lock.unlink()
        else:
            scene.paths.state.rename(tmp_path / "old state")
            scene.paths.state.mkdir(mode=0o700)
            scene.paths.lock.touch(mode=0o600)
        try:
            yield scene
        finally:
            scene.customer.close()
            if processes.is_alive(pid):
                os.kill(pid, signal.SIGKILL)


def test_status_and_reload_reach_it(gone: AgentScene) -> None:
    assert gone.customer.run("status", "--json")
    assert gone.customer.status()["agent"]["running"]
    assert "left alone orders" in gone.customer.try_run("reload").stderr
    assert "a keepalive was sent" in gone.customer.try_run("reconnect").stderr


@pytest.mark.parametrize("arguments", [("up",), ("up", "--daemon"), ("up", "orders", "--daemon")])
def test_up_starts_no_second_one(gone: AgentScene, arguments: tuple[str, ...]) -> None:
    pid = gone.customer.agent_pid()

    done = gone.customer.try_run(*arguments)

    assert (done.returncode, f"already running (pid {pid})" in done.stderr) == (0, True), done.stderr
    assert gone.customer.agent_pid() == pid


def test_a_start_that_did_not_look_finds_it(gone: AgentScene) -> None:
    """As another `up` in the same moment: the daemon itself asks, once it has the lock."""
    pid = gone.customer.agent_pid()
    reading, writing = os.pipe()
    try:
        command = [*gone.customer.command, "up", "--ready-fd", str(writing)]
        done = subprocess.run(command, env=gone.customer.environment, pass_fds=[writing], timeout=30, check=False)
    finally:
        os.close(writing)
    with os.fdopen(reading) as line:
        assert f'"pid": {pid}' in line.read()
    assert done.returncode == 0


def test_down_of_a_tunnel_and_of_the_agent_reach_it(gone: AgentScene) -> None:
    pid = gone.customer.agent_pid()

    assert "Stopped orders" in gone.customer.try_run("down", "orders").stderr
    assert "started orders" in gone.customer.try_run("up", "orders", "--daemon").stderr
    assert pull(gone.port, 1000)[0] == 1000
    assert f"Stopped the agent (pid {pid})" in gone.customer.try_run("down").stderr
    processes.wait_until(lambda: not processes.is_alive(pid))
    assert "No agent is running" in gone.customer.try_run("down").stderr


def test_one_that_is_frozen_is_said_and_no_process_signalled(gone: AgentScene) -> None:
    pid = gone.customer.agent_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        done = gone.customer.try_run("down")
        assert done.returncode == ExitCode.UNAVAILABLE
        assert "cannot be proved" in done.stderr
    finally:
        os.kill(pid, signal.SIGCONT)
