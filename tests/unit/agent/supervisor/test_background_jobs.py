"""The background thread: what a job that hangs, or many of one kind, cost those who put them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from tests.rigs.processes import wait_until

from ioconnect.agent.supervisor import background_jobs
from ioconnect.agent.supervisor.background_jobs import FLUSH_TIMEOUT, BackgroundThread

if TYPE_CHECKING:
    from collections.abc import Iterator


class Disk:
    """Takes what is written, unless it hangs."""

    def __init__(self) -> None:
        self.works = threading.Event()
        self.works.set()
        self.busy = threading.Event()
        self.written: list[str] = []

    def write(self, what: str) -> None:
        self.busy.set()
        self.works.wait()
        self.written.append(what)


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.works.set()


@pytest.fixture
def writer() -> Iterator[BackgroundThread]:
    writer = BackgroundThread("test files writer")
    yield writer
    writer.close()


def hang(writer: BackgroundThread, disk: Disk) -> None:
    disk.works.clear()
    disk.busy.clear()
    writer.put("first", lambda: disk.write("first"))
    assert disk.busy.wait(5)


def test_only_the_newest_job_of_a_kind_is_done_and_the_order_is_kept(writer: BackgroundThread, disk: Disk) -> None:
    hang(writer, disk)
    for number in range(1000):
        writer.put("status", lambda number=number: disk.write(f"status {number}"))  # type: ignore[misc]
    writer.put("ports", lambda: disk.write("ports"))
    writer.put("status", lambda: disk.write("status last"))
    disk.works.set()
    writer.close()

    assert disk.written == ["first", "ports", "status last"]


def test_a_hung_disk_delays_neither_put_nor_the_end(writer: BackgroundThread, disk: Disk) -> None:
    hang(writer, disk)
    began = time.monotonic()
    for number in range(1000):
        writer.put(f"key {number}", lambda: disk.write("more"))
    assert time.monotonic() - began < 1

    began = time.monotonic()
    writer.close()
    assert FLUSH_TIMEOUT <= time.monotonic() - began < FLUSH_TIMEOUT + 1


def test_a_hung_disk_is_logged_once_though_nothing_more_is_put(
    writer: BackgroundThread, disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also behind a short job, whose timer is still there."""
    monkeypatch.setattr(background_jobs, "HUNG_AFTER", 0.3)
    writer.put("short", lambda: disk.write("short"))
    wait_until(lambda: disk.written)
    hang(writer, disk)
    wait_until(lambda: caplog.messages)
    for _ in range(3):
        writer.put("status", lambda: disk.write("status"))
    disk.works.set()
    wait_until(lambda: len(caplog.messages) == 2)

    assert [message.split(" for ")[0] for message in caplog.messages] == [
        "the test files writer hangs",
        "the test files writer goes on",
    ]
