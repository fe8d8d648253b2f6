"""Files of held tunnels: a change is reported once, whatever it was, and nothing runs while nothing is held."""

from __future__ import annotations

import os
import queue
import threading
from typing import TYPE_CHECKING

import pytest

from ioconnect.agent.supervisor.file_monitor import FileMonitor
from ioconnect.agent.supervisor.mailbox import FilesChanged
from ioconnect.custody.files import stamp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ioconnect.custody.files import Stamps

INTERVAL = 0.01


@pytest.fixture
def reports() -> queue.Queue[FilesChanged]:
    return queue.Queue()


@pytest.fixture
def monitor(reports: queue.Queue[FilesChanged]) -> FileMonitor:
    return FileMonitor(reports.put, interval=INTERVAL)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text("a key")
    path.chmod(0o644)
    return path


def stamps(*paths: Path) -> Stamps:
    return {path: stamp(path) for path in paths}


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_text("a key")
    os.replace(other, path)  # noqa: PTH105


@pytest.mark.parametrize(
    "change",
    [lambda path: path.chmod(0o600), lambda path: path.write_text("a kez"), lambda path: path.unlink(), replace],
    ids=["mode", "content", "removed", "replaced"],
)
def test_every_kind_of_change_is_reported(
    change: Callable[[Path], object], key: Path, monitor: FileMonitor, reports: queue.Queue[FilesChanged]
) -> None:
    monitor.watch({"orders": stamps(key)})
    change(key)
    assert reports.get(timeout=10) == FilesChanged(("orders",))
    monitor.watch({})


def test_a_file_that_comes_is_reported_to_those_who_wait_for_it_once(
    tmp_path: Path, key: Path, monitor: FileMonitor, reports: queue.Queue[FilesChanged]
) -> None:
    missing = tmp_path / "missing"
    wanted = {"a": stamps(key, missing), "b": stamps(key)}
    monitor.watch(wanted)
    missing.write_text("")
    assert reports.get(timeout=10) == FilesChanged(("a",))

    monitor.watch(dict(wanted))  # as it was: nothing was tried yet
    key.chmod(0o600)
    assert reports.get(timeout=10) == FilesChanged(("b",))
    monitor.watch({})


def test_what_was_read_again_and_found_as_it_was_is_watched_on(
    key: Path, monitor: FileMonitor, reports: queue.Queue[FilesChanged]
) -> None:
    """As a file that vanishes for a moment, and is back before it is read."""
    link = key.with_name("link")
    link.symlink_to(key)
    before = stamps(link)
    monitor.watch({"orders": before})
    link.unlink()
    assert reports.get(timeout=10) == FilesChanged(("orders",))

    link.symlink_to(key)
    monitor.watch({"orders": stamps(link)})
    assert stamps(link) == before
    key.chmod(0o600)
    assert reports.get(timeout=10) == FilesChanged(("orders",))
    monitor.watch({})


def test_a_change_before_the_watch_began_is_not_missed(
    key: Path, monitor: FileMonitor, reports: queue.Queue[FilesChanged]
) -> None:
    as_read = stamps(key)
    key.chmod(0o600)
    monitor.watch({"orders": as_read})
    assert reports.get(timeout=10) == FilesChanged(("orders",))
    monitor.watch({})


def test_without_a_held_tunnel_there_is_no_thread(
    key: Path, monitor: FileMonitor, reports: queue.Queue[FilesChanged]
) -> None:
    before = set(threading.enumerate())
    monitor.watch({})
    assert set(threading.enumerate()) == before

    monitor.watch({"orders": stamps(key)})
    (thread,) = set(threading.enumerate()) - before
    monitor.watch({})
    thread.join(10)
    assert not thread.is_alive()

    monitor.watch({"orders": stamps(key)})  # and it starts again
    key.chmod(0o600)
    assert reports.get(timeout=10) == FilesChanged(("orders",))
    monitor.watch({})
