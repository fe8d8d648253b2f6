"""Who may be signalled: the process that provably holds the lock, and no other."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ioconnect.agent.process import stop
from ioconnect.agent.process.stop import NotProven
from ioconnect.config.paths import under
from ioconnect.custody import processes
from ioconnect.status import control
from ioconnect.status.control import AgentSilent
from ioconnect.status.lock import AgentLock
from ioconnect.status.records import Silence

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.skipif(sys.platform != "linux", reason="/proc, by which it is proved, is Linux's")
def test_a_lock_of_another_file_proves_nothing(tmp_path: Path) -> None:
    ours, other = tmp_path / "agent.lock", tmp_path / "other.lock"
    other.touch()
    with ours.open("w") as file:
        assert not stop._has_locked(os.getpid(), ours.stat()), "open, and not locked"
        fcntl.flock(file, fcntl.LOCK_EX)

        assert stop._has_locked(os.getpid(), ours.stat())
        assert not stop._has_locked(os.getpid(), other.stat())
        shared = os.stat_result((*other.stat()[:1], ours.stat().st_ino, other.stat().st_dev + 1, *other.stat()[3:]))
        assert not stop._has_locked(os.getpid(), shared), "the same number on another file system"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc, by which it is proved, is Linux's")
def test_who_was_sent_the_locked_file_by_another_process_does_not_hold_it(tmp_path: Path) -> None:
    """Any process of root's that takes descriptors could be named as the agent otherwise."""
    path = tmp_path / "agent.lock"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        code = (
            "import fcntl, os, socket, sys\n"
            "file = open(sys.argv[1], 'w')\n"
            "fcntl.flock(file, fcntl.LOCK_EX)\n"
            "connection = socket.socket(fileno=int(sys.argv[2]))\n"
            "socket.send_fds(connection, [b'x'], [file.fileno()])\n"
            "connection.recv(1)\n"
        )
        words = [sys.executable, "-c", code, str(path), str(theirs.fileno())]
        with subprocess.Popen(words, pass_fds=[theirs.fileno()]) as locker:
            _, (descriptor, *_), _, _ = socket.recv_fds(ours, 1, 1)
            try:
                assert stop._has_locked(locker.pid, path.stat())
                assert not stop._has_locked(os.getpid(), path.stat())
            finally:
                os.close(descriptor)
                ours.send(b"x")


def test_without_the_kernels_list_of_locks_nobody_is_signalled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS: the pid that the lock file names is no proof."""
    paths = under(tmp_path)
    held = AgentLock.acquire(paths.lock, version="1", started_at="then")
    monkeypatch.setattr(stop, "LOCKS", tmp_path / "none")
    try:
        with pytest.raises(NotProven, match="cannot be proved") as refused:
            stop._end_holder(paths, os.getpid(), 0.1)
        assert "kill" not in (refused.value.hint or "")  # who writes the lock chose the pid
        assert stop.proven_pid(paths) is None
    finally:
        held.release()


@pytest.mark.parametrize(("answering", "ended"), [(None, True), (4711, False)])
def test_an_agent_without_its_lock_that_does_not_end_is_not_told_as_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answering: int | None, *, ended: bool
) -> None:
    monkeypatch.setattr(stop.control, "answering_pid", lambda _paths: answering)
    if ended:
        assert stop._end_holder(under(tmp_path), 4711, 0.1) is None
    else:
        with pytest.raises(NotProven, match="pid 4711"):
            stop._end_holder(under(tmp_path), 4711, 0.1)


@pytest.mark.parametrize("silent", [True, False])
def test_an_agent_that_was_started_after_the_one_that_ended_is_not_signalled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, silent: bool
) -> None:
    """As `up --daemon`, which cron repeats, in the same moment as `down`."""
    paths, sent = under(tmp_path), list[int]()
    ended = os.getpid() + 1
    another = AgentLock.acquire(paths.lock, version="1", started_at="then")

    def change(*_: object) -> None:
        if silent:
            raise AgentSilent(ended, Silence("", ""))

    monkeypatch.setattr(control, "running_pid", lambda _paths: ended)
    monkeypatch.setattr(control, "change", change)
    monkeypatch.setattr(control, "answering_pid", lambda _paths: os.getpid())
    monkeypatch.setattr(processes, "_send", lambda pid, *_: sent.append(pid))
    try:
        assert stop.stop(paths, deadline=0.2) == ended
        assert not sent
    finally:
        another.release()
