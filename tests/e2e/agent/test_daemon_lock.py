"""One agent at a time: the lock between real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from tests.rigs import ordinary_user, processes

from ioconnect.errors import CannotCreate, ExitCode, SystemRefused
from ioconnect.status import lock
from ioconnect.status.lock import AgentLock, AlreadyRunning

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLD = """
import signal, sys
from pathlib import Path
from ioconnect.status.lock import AgentLock
held = AgentLock.acquire(Path(sys.argv[1]), version="1", started_at="then")
print("held", flush=True)
signal.pause()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "agent.lock"


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def acquire(path: Path) -> AgentLock:
    return AgentLock.acquire(path, version="1.2", started_at="2026-11-22T10:00:00Z")


def test_the_file_says_who_holds_it(path: Path) -> None:
    held = acquire(path)

    assert lock.holder(path) == os.getpid()
    assert json.loads(path.read_text()) == {
        "pid": os.getpid(),
        "started_at": "2026-11-22T10:00:00Z",
        "version": "1.2",
    }
    assert path.stat().st_mode & 0o777 == 0o600
    held.release()


def test_a_second_agent_learns_the_pid_of_the_first(path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(AlreadyRunning, match=f"pid {holder.pid}") as refused:
        acquire(path)

    assert refused.value.exit_code is ExitCode.OK
    assert lock.holder(path) == holder.pid


def test_however_its_holder_dies_the_lock_is_free(path: Path, holder: subprocess.Popen[str]) -> None:
    assert lock.holder(path) == holder.pid
    holder.send_signal(signal.SIGKILL)

    processes.wait_until(lambda: lock.holder(path) is None, what="the lock is free")
    assert lock.holder(path) is None  # though the file still names it
    assert json.loads(path.read_text())["pid"] == holder.pid
    acquire(path).release()


def test_nobody_holds_a_lock_that_is_not_there(path: Path) -> None:
    assert lock.holder(path) is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"pid": "7"}', b'{"pid": true}', b'{"pid": 1}', b"\xff" * 5000]
)
def test_a_holder_that_does_not_say_who_it_is_is_still_one(path: Path, content: bytes) -> None:
    held = acquire(path)
    path.write_bytes(content)

    assert lock.holder(path) == 0
    with pytest.raises(AlreadyRunning, match=r"already running$"):
        acquire(path)
    held.release()


def test_those_who_look_do_not_keep_an_agent_from_starting(path: Path) -> None:
    """`status --watch` takes the lock for a moment each time; `up` must not take that for an agent."""
    acquire(path).release()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            lock.holder(path)

    lookers = [threading.Thread(target=look) for _ in range(3)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(20):
            acquire(path).release()
    finally:
        done.set()
        for looker in lookers:
            looker.join()


def test_a_folder_that_cannot_be_written_is_named() -> None:
    with ordinary_user.folder(mode=0o555) as folder:
        said = ordinary_user.run(
            "from pathlib import Path\nfrom ioconnect.status.lock import AgentLock, CannotCreate",
            f"path = Path({str(folder)!r}, 'agent.lock')\n"
            "try:\n    AgentLock.acquire(path, version='1', started_at='')\n"
            "except CannotCreate as fault:\n    print(fault.message)",
        )

    assert str(folder) in said


def test_a_lock_of_another_user_is_said_with_what_to_do() -> None:
    """As after a `sudo ioconnect up` with the user's IOCONNECT_HOME."""
    if os.geteuid() != 0:
        pytest.skip("needs root, whose lock it is")
    with ordinary_user.folder() as folder:
        path = folder / "agent.lock"
        path.touch(mode=0o600)
        said = ordinary_user.run(
            "from pathlib import Path\nfrom ioconnect.status import lock",
            f"try:\n    lock.holder(Path({str(path)!r}))\nexcept lock.SystemRefused as fault:\n"
            "    print(fault.message, fault.hint, sep='\\n')",
        )

    why, hint = said.splitlines()
    assert why == f"cannot use the lock {path}: Permission denied: it belongs to another user (uid 0)"
    assert hint == "Run the command as that user (sudo), or set IOCONNECT_HOME to a folder of yours."


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    limited = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); "
        "from pathlib import Path; from ioconnect.status.lock import AgentLock; "
        f"AgentLock.acquire(Path({str(tmp_path / 'agent.lock')!r}), version='1', started_at='')"
    )
    done = processes.run([sys.executable, "-c", limited])

    assert CannotCreate.__name__ in done.stderr
    assert lock.holder(tmp_path / "agent.lock") is None


@pytest.mark.parametrize("kind", ["fifo", "link"])
def test_a_lock_that_is_no_file_of_its_own_is_said_and_neither_waited_for_nor_written(
    path: Path, tmp_path: Path, kind: str
) -> None:
    """Whoever owns the state folder must not have root's command hang, or write elsewhere."""
    path.parent.mkdir()
    other = tmp_path / "root's file"
    other.write_text("precious")
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(other)

    what = "a link" if kind == "link" else r"a named pipe \(FIFO\)"
    with pytest.raises(SystemRefused, match=f"cannot use the lock .*: it is {what}, not a regular file$") as refused:
        lock.holder(path)
    with pytest.raises(CannotCreate, match="cannot use the lock"):
        acquire(path)
    assert refused.value.hint == f"No agent made it. Remove it: rm {path}"
    assert other.read_text() == "precious"
