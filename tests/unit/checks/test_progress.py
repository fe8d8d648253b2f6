"""The spinner of `test` and `doctor`: Ctrl-C ends them whenever it comes."""

from __future__ import annotations

import os
import signal

import pytest
from rich.file_proxy import FileProxy

from ioconnect.checks import show
from ioconnect.checks.results import CheckId
from ioconnect.checks.show import Progress


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show, "is_colourful", lambda _stream, _environ: True)
    monkeypatch.setenv("FORCE_COLOR", "1")


def press_ctrl_c(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_while_the_spinner_is_removed_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """rich's stand-in for sys.stderr flushes when it is freed, where Python loses what is raised: `test` went on."""
    with Progress() as progress:
        progress.began(CheckId.TCP)
        with monkeypatch.context() as patched:
            patched.setattr(FileProxy, "flush", press_ctrl_c)

            with pytest.raises(KeyboardInterrupt):
                progress.stop()


def test_the_handlers_are_as_before() -> None:
    before = signal.getsignal(signal.SIGINT)

    with Progress() as progress:
        progress.began(CheckId.TCP)

    assert signal.getsignal(signal.SIGINT) is before
