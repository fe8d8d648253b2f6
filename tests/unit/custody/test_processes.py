"""A signal goes to the process that was looked at, or to nobody."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from ioconnect.custody import processes
from ioconnect.custody.processes import signalling
from ioconnect.errors import SystemRefused

if TYPE_CHECKING:
    from collections.abc import Callable


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
