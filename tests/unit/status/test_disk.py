"""A disk that hangs costs whoever asks it a moment, once, and nobody beside it anything."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from ioconnect.errors import SystemRefused
from ioconnect.status import disk, lock
from ioconnect.status.disk import DiskHangs, within_timeout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def works() -> Iterator[threading.Event]:
    """An event for which a disk waits; at the end it is set."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "TIMEOUT", 0.1)


def test_a_disk_that_is_well_is_asked_as_it_was(tmp_path: Path) -> None:
    assert within_timeout(tmp_path / "file", lambda: 4711) == 4711
    with pytest.raises(FileNotFoundError):
        within_timeout(tmp_path / "file", (tmp_path / "file").stat)


def test_one_that_hangs_is_waited_for_once_until_it_works_again(tmp_path: Path, works: threading.Event) -> None:
    file = tmp_path / "hangs" / "file"
    with pytest.raises(DiskHangs, match="does not answer within"):
        within_timeout(file, works.wait)
    threads, began = threading.active_count(), time.monotonic()
    for name in ("file", "other"):
        with pytest.raises(DiskHangs):
            within_timeout(file.with_name(name), pytest.fail)
    assert time.monotonic() - began < disk.TIMEOUT
    assert threading.active_count() == threads
    assert within_timeout(tmp_path / "file", lambda: "another folder") == "another folder"

    works.set()
    disk._hanging[file.parent].join(10)
    assert within_timeout(file, lambda: "works") == "works"


def test_without_a_thread_it_is_asked_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert within_timeout(tmp_path / "file", lambda: 4711) == 4711


def test_a_lock_on_a_disk_that_hangs_is_said_and_the_agent_asked_by_its_path(
    tmp_path: Path, works: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "agent.lock"
    asked = lock.identities(path)
    assert next(asked) == os.fsencode(path).hex(), "no disk is needed for that"
    monkeypatch.setattr(lock, "identity", lambda _: works.wait())
    assert list(asked) == []

    with pytest.raises(SystemRefused, match="lock: its disk does not answer within") as refused:
        lock.holder(path)
    assert refused.value.hint == disk.HINT
    assert "Look at that disk" in disk.HINT
    assert "busy" in disk.HINT, "a machine that has no time for it looks the same"
