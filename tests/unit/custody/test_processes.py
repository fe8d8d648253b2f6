"""A signal goes to the process that was looked at, or to nobody; a lock is held by whom the kernel names."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ioconnect.custody import processes
from ioconnect.custody.processes import signalling
from ioconnect.errors import SystemRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"])


PIDFDS = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this system has no pidfds")


def failing(code: int) -> Callable[[int], int]:
    """Return a pidfd_open(2) that fails."""

    def pidfd_open(_: int) -> int:
        raise OSError(code, os.strerror(code))

    return pidfd_open


@pytest.mark.parametrize("code", [None, *processes.NO_PIDFDS])
def test_the_process_gets_it(monkeypatch: pytest.MonkeyPatch, code: int | None) -> None:
    """Also where the system has no pidfds."""
    if code is not None:
        monkeypatch.setattr(os, "pidfd_open", failing(code), raising=False)
    with sleeper() as process, signalling(process.pid) as send:
        send(signal.SIGTERM)

        assert process.wait(10) == -signal.SIGTERM


def test_a_python_without_pidfds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    with sleeper() as process, signalling(process.pid) as send:
        send(signal.SIGTERM)

        assert process.wait(10) == -signal.SIGTERM


@PIDFDS
def test_whoever_has_the_pid_afterwards_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the number it would be sent to whoever has it now."""
    with sleeper() as process, signalling(process.pid) as send:
        process.kill()
        process.wait(10)
        monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("signalled by the number"))

        send(signal.SIGTERM)


@PIDFDS
def test_no_process_is_no_fault_and_whoever_gets_the_pid_afterwards_is_not_signalled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with sleeper() as process:
        process.kill()
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("signalled by the number"))
    with signalling(process.pid) as send:
        send(signal.SIGTERM)


@PIDFDS
def test_a_process_that_cannot_be_held_is_not_signalled_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when this process has no descriptor left."""
    with sleeper() as process:
        with monkeypatch.context() as patched:
            patched.setattr(os, "pidfd_open", failing(errno.EMFILE))
            patched.setattr(os, "kill", lambda *_: pytest.fail("signalled by the number"))
            with pytest.raises(SystemRefused, match="cannot get hold of"), signalling(process.pid) as send:
                send(signal.SIGTERM)
        process.kill()


def test_no_pid_is_no_process_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("signalled by the number"))
    for pid in (0, -1):
        with signalling(pid) as send:
            send(signal.SIGTERM)


PROC = pytest.mark.skipif(sys.platform != "linux", reason="/proc, by which it is proved, is Linux's")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """Yield a descriptor of the file, which is made if it is missing."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.fixture(params=["the list of all", "that of the process"])
def lists(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the kernel's list of all locks be empty in one run, as where it names other devices (overlay)."""
    if request.param != "the list of all":
        (tmp_path / "locks").touch()
        monkeypatch.setattr(processes, "LOCKS", tmp_path / "locks")


@PROC
@pytest.mark.usefixtures("lists")
def test_a_lock_of_another_file_proves_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "ours") as ours, opened(tmp_path / "other") as other:
        assert not processes.has_locked(os.getpid(), ours), "open, and not locked"
        fcntl.flock(ours, fcntl.LOCK_EX)

        assert processes.has_locked(os.getpid(), ours)
        assert not processes.has_locked(os.getpid(), other)
        assert not processes.has_locked(os.getppid(), ours)


@PROC
@pytest.mark.usefixtures("lists")
def test_a_shared_lock_proves_nothing(tmp_path: Path) -> None:
    """Every command that asks whether an agent runs takes one."""
    with opened(tmp_path / "ours") as ours:
        fcntl.flock(ours, fcntl.LOCK_SH)

        assert not processes.has_locked(os.getpid(), ours)


@PROC
@pytest.mark.usefixtures("lists")
def test_who_was_sent_the_locked_file_by_another_process_does_not_hold_it(tmp_path: Path) -> None:
    """Any process of root's that takes descriptors could be named as the agent otherwise."""
    ours, theirs = socket.socketpair()
    with ours, theirs, opened(tmp_path / "agent.lock") as file:
        code = (
            "import fcntl, os, socket, sys\n"
            "file = open(sys.argv[1], 'w')\n"
            "fcntl.flock(file, fcntl.LOCK_EX)\n"
            "connection = socket.socket(fileno=int(sys.argv[2]))\n"
            "socket.send_fds(connection, [b'x'], [file.fileno()])\n"
            "connection.recv(1)\n"
        )
        words = [sys.executable, "-c", code, str(tmp_path / "agent.lock"), str(theirs.fileno())]
        with subprocess.Popen(words, pass_fds=[theirs.fileno()]) as locker:
            _, (descriptor, *_), _, _ = socket.recv_fds(ours, 1, 1)
            try:
                assert processes.has_locked(locker.pid, file)
                assert not processes.has_locked(os.getpid(), file)
            finally:
                os.close(descriptor)
                ours.send(b"x")


@PROC
@pytest.mark.parametrize("lists", ["that of the process"], indirect=True)
@pytest.mark.usefixtures("lists")
def test_only_so_many_descriptors_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account chooses the process, and how many it has."""
    looked_at: list[str] = []
    is_locked = processes._is_locked
    monkeypatch.setattr(processes, "_is_locked", lambda *words: looked_at.append(words[1]) or is_locked(*words))
    monkeypatch.setattr(processes, "MAX_DESCRIPTORS", 3)
    with contextlib.ExitStack() as files:
        descriptors = [files.enter_context(opened(tmp_path / f"{number}")) for number in range(9)]
        fcntl.flock(descriptors[-1], fcntl.LOCK_EX)

        assert not processes.has_locked(os.getpid(), descriptors[-1])
        assert len(looked_at) == 3
        monkeypatch.undo()
        assert processes.has_locked(os.getpid(), descriptors[-1])


@PROC
def test_only_so_much_of_the_list_of_all_locks_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every account can lock files without end: then what the process itself has counts."""
    locks = tmp_path / "locks"
    locks.write_text("1: FLOCK  ADVISORY  WRITE 1 00:00:1 0 EOF\n" * 9)
    monkeypatch.setattr(processes, "LOCKS", locks)
    monkeypatch.setattr(processes, "MAX_LOCKS", 3)
    with opened(tmp_path / "ours") as ours:
        fcntl.flock(ours, fcntl.LOCK_EX)

        assert processes.has_locked(os.getpid(), ours)
        assert not processes.has_locked(1, ours)


@PROC
def test_a_pid_is_an_accounts_while_its_process_is() -> None:
    with sleeper() as process:
        assert processes.is_of(process.pid, os.geteuid())
        assert not processes.is_of(process.pid, os.geteuid() + 1)
        process.kill()
    assert not processes.is_of(process.pid, os.geteuid())
