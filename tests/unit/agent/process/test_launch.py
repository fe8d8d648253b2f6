"""The start of a daemon, as the process sees it that waits for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ioconnect.agent.process import launch
from ioconnect.config.paths import under
from ioconnect.errors import SystemRefused
from ioconnect.status import lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAEMON = 4711


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """The readiness pipe of a daemon that says nothing of itself."""
    monkeypatch.setattr(launch, "_snapshot", lambda *_: None)
    monkeypatch.setattr(launch, "LOCK_INTERVAL", 0.001)
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_an_agent_runs_once_others_find_it(
    tmp_path: Path, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However short the wait: `down` right after ends it."""
    seen: list[int | None] = [None, 0, DAEMON - 1, DAEMON]

    def holder(_path: Path) -> int | None:
        if len(seen) == 2:
            seen.pop(0)
            raise SystemRefused("its disk does not answer")
        return seen.pop(0)

    monkeypatch.setattr(lock, "holder", holder)

    assert launch._read_ready_line(pipe[0], under(tmp_path), DAEMON, 0, print) is None
    assert seen == []


def test_one_that_takes_no_lock_is_not_waited_for_for_ever(
    tmp_path: Path, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "LOCK_TIMEOUT", 0.01)

    assert launch._read_ready_line(pipe[0], under(tmp_path), DAEMON, 0, print) is None


def test_what_keeps_it_from_its_lock_is_heard_after_the_wait(tmp_path: Path, pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b'{"state": "running", "pid": 4712}\n')

    assert (
        launch._read_ready_line(pipe[0], under(tmp_path), DAEMON, 0, print) == b'{"state": "running", "pid": 4712}\n'
    )
