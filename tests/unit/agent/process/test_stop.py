"""Who may be signalled: the process that provably holds the lock, and no other."""

from __future__ import annotations

import fcntl
import os
import sys
from typing import TYPE_CHECKING

import pytest

from ioconnect.agent.process import stop

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
