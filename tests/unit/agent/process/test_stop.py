"""Who may be signalled: the process that provably holds the lock, and no other."""

from __future__ import annotations

import fcntl
import json
import os
from typing import TYPE_CHECKING

import pytest
from tests.rigs.ordinary_user import NOBODY

from ioconnect.agent.process import stop
from ioconnect.agent.process.stop import NotProven
from ioconnect.config.paths import under
from ioconnect.custody import processes
from ioconnect.status import control, lock, observe
from ioconnect.status.control import AgentSilent
from ioconnect.status.lock import AgentLock
from ioconnect.status.records import Silence

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The pids that were signalled, each time."""
    sent: list[int] = []
    monkeypatch.setattr(processes, "_send", lambda pid, *_: sent.append(pid))
    return sent


ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of another account")


@ROOT
def test_an_account_that_swaps_its_folder_meanwhile_has_no_process_of_roots_signalled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: list[int]
) -> None:
    """Once its own lock was read, which names that process, the path leads to the lock that it holds."""
    ours, theirs = under(tmp_path / "ours"), under(tmp_path / "theirs")
    held = AgentLock.acquire(ours.lock, version="1", started_at="then")
    theirs.state.mkdir(parents=True)
    for folder in (theirs.state.parent, theirs.state):
        os.chown(folder, NOBODY, NOBODY)

    def swapped(path: Path) -> int:
        assert path == theirs.lock
        if not theirs.state.is_symlink():
            theirs.state.rename(tmp_path / "theirs" / "before")
            theirs.state.symlink_to(ours.state)
        return os.getpid()

    monkeypatch.setattr(stop.lock, "holder", swapped)
    try:
        with pytest.raises(NotProven, match="cannot be proved"):
            stop._end_holder(theirs, os.getpid(), 0.1)
        assert observe.agent_pid(theirs) == 0
        assert not sent
    finally:
        held.release()


@ROOT
def test_a_file_of_roots_that_an_account_moved_into_the_place_of_its_lock_proves_nothing(
    tmp_path: Path, sent: list[int]
) -> None:
    """A process of root's may lock it, and be no agent: root's agent locks nothing there."""
    theirs = under(tmp_path)
    theirs.lock.parent.mkdir()
    theirs.lock.write_text(json.dumps({"pid": os.getpid()}))
    with theirs.lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert observe.agent_pid(theirs) == os.getpid()
        os.chown(theirs.lock.parent, NOBODY, NOBODY)

        with pytest.raises(NotProven, match="cannot be proved"):
            stop._end_holder(theirs, os.getpid(), 0.1)
        assert observe.agent_pid(theirs) == 0
        assert lock.owner(theirs.lock) is None
        assert not sent


def test_without_the_kernels_list_of_locks_nobody_is_signalled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS: the pid that the lock file names is no proof."""
    paths = under(tmp_path)
    held = AgentLock.acquire(paths.lock, version="1", started_at="then")
    monkeypatch.setattr(processes, "LOCKS", tmp_path / "none")
    try:
        with pytest.raises(NotProven, match="cannot be proved") as refused:
            stop._end_holder(paths, os.getpid(), 0.1)
        assert "kill" not in (refused.value.hint or "")  # who writes the lock chose the pid
        assert not observe.agent_pid(paths)
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
