"""One agent at a time: a lock file that is held for the agent's life, so *held* is what "running" means.

flock(2), not lockf: a POSIX lock is gone as soon as anybody in the process closes the file. The file is never
unlinked, since two agents could then each hold a lock on a file of that name. What it says (whose pid) is only
information, and true only while the lock is held.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from typing import TYPE_CHECKING

from ioconnect.config.files import make_folder
from ioconnect.errors import CannotCreate, ExitCode, Fault, SystemRefused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LARGEST = 4096  # bytes of a lock file that are read
LOOKERS_PATIENCE = 0.5  # seconds in which somebody who merely looks, as `holder` does, lets go again
POLL = 0.02  # seconds; flock(2) knows no deadline, so waiting for it means asking again


class AlreadyRunning(Fault):
    """Another agent holds the lock; `pid` is None if its file does not say."""

    exit_code = ExitCode.OK

    def __init__(self, pid: int | None) -> None:
        super().__init__(
            "the agent is already running" + (f" (pid {pid})" if pid else ""),
            hint="ioconnect status shows what it does; ioconnect down ends it.",
        )
        self.pid = pid


class AgentLock:
    """The lock, held until the end of the process, whatever ends it: that it is free means that the agent is gone."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, path: Path, *, version: str, started_at: str) -> AgentLock:
        """Take the lock and write {pid, started_at, version} into its file.

        Raises AlreadyRunning if an agent holds it, CannotCreate if there can be no such file.
        """
        make_folder(path.parent)
        facts = {"pid": os.getpid(), "started_at": started_at, "version": version}
        with contextlib.ExitStack() as undo, _explained(path, CannotCreate):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            undo.callback(os.close, descriptor)
            if not _locked(descriptor, fcntl.LOCK_EX, LOOKERS_PATIENCE):
                raise AlreadyRunning(_recorded_pid(descriptor))
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(facts).encode() + b"\n", 0)
            undo.pop_all()
        return cls(descriptor)

    def release(self) -> None:
        """Let go before the process ends: only if nothing runs after all."""
        os.close(self._descriptor)


def holder(path: Path) -> int | None:
    """Return the pid of the running agent, None if none runs; 0 if it does not write its pid within the patience.

    Raises SystemRefused if the file cannot be read.
    """
    with _looking_at(path) as descriptor:
        if descriptor is None:
            return None
        end = time.monotonic() + LOOKERS_PATIENCE
        while not _locked_now(descriptor, fcntl.LOCK_SH):
            pid = _recorded_pid(descriptor)
            if pid or time.monotonic() > end:
                return pid or 0
            time.sleep(POLL)
        return None


def wait_until_free(path: Path, seconds: float) -> bool:
    """Wait until no agent holds the lock; False if one still does after that many seconds."""
    with _looking_at(path) as descriptor:
        return descriptor is None or _locked(descriptor, fcntl.LOCK_SH, seconds)


@contextlib.contextmanager
def _looking_at(path: Path) -> Iterator[int | None]:
    """Open the lock file for a look; None if there is none."""
    with _explained(path, SystemRefused):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            yield None
            return
        try:
            yield descriptor
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _explained(path: Path, kind: type[Fault]) -> Iterator[None]:
    """Turn what the system says about the lock file into a fault."""
    try:
        yield
    except OSError as error:
        raise kind(
            f"cannot use the lock {path}: {error.strerror}",
            hint="Run the command as the user that the agent runs as, or set IOCONNECT_HOME.",
        ) from error


def _locked(descriptor: int, kind: int, seconds: float) -> bool:
    """Take the lock, trying for so many seconds; False if somebody else keeps it."""
    end = time.monotonic() + seconds
    while not _locked_now(descriptor, kind):
        if time.monotonic() >= end:
            return False
        time.sleep(POLL)
    return True


def _locked_now(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _recorded_pid(descriptor: int) -> int | None:
    """Return the pid in the file, None if it says none."""
    try:
        facts = json.loads(os.pread(descriptor, LARGEST, 0))
    except (ValueError, RecursionError, OSError):
        return None
    pid = facts.get("pid") if isinstance(facts, dict) else None
    return pid if type(pid) is int and pid > 1 else None
