"""A signal goes to the process that was looked at, or to nobody."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from ioconnect.custody.processes import signalling


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"])


@pytest.mark.parametrize("with_pidfd", [True, False])
def test_the_process_gets_it(monkeypatch: pytest.MonkeyPatch, *, with_pidfd: bool) -> None:
    if not with_pidfd:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    with sleeper() as process, signalling(process.pid) as send:
        send(signal.SIGTERM)

        assert process.wait(10) == -signal.SIGTERM


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this system has no pidfds")
def test_whoever_has_the_pid_afterwards_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the number it would be sent to whoever has it now."""
    with sleeper() as process, signalling(process.pid) as send:
        process.kill()
        process.wait(10)
        monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("signalled by the number"))

        send(signal.SIGTERM)


def test_no_process_is_no_fault() -> None:
    with sleeper() as process:
        process.kill()
    with signalling(process.pid) as send:
        send(signal.SIGTERM)
