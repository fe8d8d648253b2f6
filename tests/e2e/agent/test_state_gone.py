"""A running agent whose state folder was removed or renamed: no command takes it for ended, none starts a second."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes
from tests.rigs.database import pull

from ioconnect.errors import ExitCode
from ioconnect.status import lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.rigs.agent_scene import AgentScene

HOLD_LOCK = """
import sys, time
from pathlib import Path
from ioconnect.status.lock import AgentLock
held = AgentLock.acquire(Path(sys.argv[1]), version="1", started_at="2026-11-22T10:00:00Z")
time.sleep(60)
"""


@pytest.fixture(params=["removed", "renamed and made anew", "lock alone"])
def gone(running: AgentScene, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[AgentScene]:
    """A customer whose agent runs, with its state gone in this way."""
    pid = running.customer.agent_pid()
    if request.param == "removed":
        processes.remove_folder(running.paths.state)
    elif request.param == "lock alone":
        running.paths.lock.unlink()
    else:
        running.paths.state.rename(tmp_path / "old state")
        running.paths.state.mkdir(mode=0o700)
        running.paths.lock.touch(mode=0o600)
    yield running
    running.customer.close()
    if processes.is_alive(pid):
        os.kill(pid, signal.SIGKILL)


def start_without_a_look(gone: AgentScene) -> tuple[int, str]:
    """Be the process that `up --daemon` starts; return its exit code and what it says over the readiness pipe."""
    reading, writing = os.pipe()
    try:
        command = [*gone.customer.command, "up", "--ready-fd", str(writing)]
        done = subprocess.run(command, env=gone.customer.environment, pass_fds=[writing], timeout=30, check=False)
    finally:
        os.close(writing)
    with os.fdopen(reading) as line:
        return done.returncode, line.read()


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

    code, said = start_without_a_look(gone)

    assert (code, json.loads(said)["pid"]) == (0, pid)


def test_down_of_a_tunnel_and_of_the_agent_reach_it(gone: AgentScene) -> None:
    pid = gone.customer.agent_pid()

    assert "Stopped orders" in gone.customer.try_run("down", "orders").stderr
    assert "started orders" in gone.customer.try_run("up", "orders", "--daemon").stderr
    assert pull(gone.port, 1000)[0] == 1000
    assert f"Stopped the agent (pid {pid})" in gone.customer.try_run("down").stderr
    processes.wait_until(lambda: not processes.is_alive(pid))
    assert "No agent is running" in gone.customer.try_run("down").stderr


@pytest.mark.parametrize("is_frozen", [False, True])
def test_what_is_saved_is_for_the_agent_that_runs(gone: AgentScene, *, is_frozen: bool) -> None:
    """One that does not answer runs as well: a start would be refused. Saving needs none of them."""
    pid = gone.customer.agent_pid()
    line = "ssh -NR 58116:db:3306 sshtunnel@127.0.0.1"
    if is_frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        registered = gone.customer.try_run("register", "stock", "--endpoint", "127.0.0.1:58115", "--to", "db:3306")
        imported = gone.customer.try_run("import", "-", "--yes", text_in=line)
    finally:
        os.kill(pid, signal.SIGCONT)

    for done in (registered, imported):
        assert done.returncode == 0, done.stderr
        assert done.stderr.rstrip().endswith("then ioconnect reload."), done.stderr


def test_one_that_is_frozen_is_said_and_no_process_signalled(gone: AgentScene) -> None:
    pid = gone.customer.agent_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        for done in gone.customer.try_together(("down",), ("up",), ("up", "--daemon"), ("status",)):
            assert done.returncode == ExitCode.UNAVAILABLE, done.args
            said = " ".join((done.stdout + done.stderr).split())
            assert f"(pid {pid})" in said
            assert "cannot be proved" in said
        assert lock.holder(gone.paths.lock) is None
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_start_that_did_not_look_is_refused_beside_one_that_is_frozen(gone: AgentScene) -> None:
    pid = gone.customer.agent_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        code, said = start_without_a_look(gone)
    finally:
        os.kill(pid, signal.SIGCONT)

    assert (code, json.loads(said)["error"]["exit_code"]) == (ExitCode.UNAVAILABLE, ExitCode.UNAVAILABLE)
    assert f"(pid {pid})" in said


def test_down_signals_no_other_agent_than_the_one_that_is_frozen(gone: AgentScene, tmp_path: Path) -> None:
    """An agent that took the lock anew is well: not the one that does not answer."""
    pid = gone.customer.agent_pid()
    os.kill(pid, signal.SIGSTOP)
    other = processes.start([sys.executable, "-c", HOLD_LOCK, str(gone.paths.lock)], log=tmp_path / "log")
    try:
        processes.wait_until(lambda: lock.holder(gone.paths.lock) == other.pid)
        done = gone.customer.try_run("down")
        assert (done.returncode, f"(pid {pid})" in done.stderr) == (ExitCode.UNAVAILABLE, True), done.stderr
        assert other.poll() is None
    finally:
        os.kill(pid, signal.SIGCONT)
        processes.end(other)


@pytest.mark.parametrize("what", ["state", "lock"])
def test_what_is_no_lock_any_more_keeps_no_command_from_the_agent(running: AgentScene, what: str) -> None:
    pid = running.customer.agent_pid()
    path = running.paths.state if what == "state" else running.paths.lock
    path.rename(path.with_name("renamed"))
    os.mkfifo(path)

    assert f"already running (pid {pid})" in running.customer.try_run("up", "--daemon").stderr
    assert "Stopped orders" in running.customer.try_run("down", "orders").stderr
    assert "started orders" in running.customer.try_run("up", "orders").stderr
    assert f"Stopped the agent (pid {pid})" in running.customer.try_run("down").stderr
    processes.wait_until(lambda: not processes.is_alive(pid))
    assert running.customer.try_run("down").returncode == ExitCode.OS_ERROR, "nobody answers, and the lock is none"
