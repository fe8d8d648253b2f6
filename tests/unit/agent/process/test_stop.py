"""Who may be signalled: the process that provably holds the lock, and no other."""

from __future__ import annotations

import fcntl
import os
import sys
from typing import TYPE_CHECKING

import pytest

from ioconnect.agent.process import stop
from ioconnect.agent.process.stop import NotProven
from ioconnect.config.paths import under
from ioconnect.status.lock import AgentLock

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


def test_without_the_kernels_list_of_locks_nobody_is_signalled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS: the pid that the lock file names is no proof."""
    paths = under(tmp_path)
    held = AgentLock.acquire(paths.lock, version="1", started_at="then")
    monkeypatch.setattr(stop, "LOCKS", tmp_path / "none")
    try:
        with pytest.raises(NotProven, match="cannot be proved"):
            stop._end_holder(paths, 0.1)
        assert stop.proven_pid(paths) is None
    finally:
        held.release()


@pytest.mark.parametrize(("answering", "ended"), [(None, True), (4711, False)])
def test_an_agent_without_its_lock_that_does_not_end_is_not_told_as_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answering: int | None, *, ended: bool
) -> None:
    monkeypatch.setattr(stop.control, "answering_pid", lambda _paths: answering)
    if ended:
        assert stop._end_holder(under(tmp_path), 0.1) is None
    else:
        with pytest.raises(NotProven, match="pid 4711"):
            stop._end_holder(under(tmp_path), 0.1)
