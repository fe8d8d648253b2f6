"""A client beside the control socket of another real user, who would tell it that all is well."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.rigs import ordinary_user
from tests.rigs.ordinary_user import NOBODY

from ioconnect.checks import running_agent
from ioconnect.config.paths import under
from ioconnect.doctor import examine
from ioconnect.status.lock import AgentLock
from ioconnect.status.observe import observe
from ioconnect.status.snapshots import Snapshot, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ioconnect.config.paths import Paths

STRANGER = 1  # a user id that is neither root's nor the client's
LISTEN = """
import contextlib, os, socket, sys
path, owner, stranger, said = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
os.chown(path, owner, owner)
os.chmod(path, 0o666)
os.setgroups([])
os.setgid(stranger)
os.setuid(stranger)
listener.listen()  # what SO_PEERCRED tells is of this moment (unix(7))
print("listens", flush=True)
while True:
    connection, _ = listener.accept()
    with contextlib.suppress(OSError):  # a client that turned away
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\\r\\n\\r\\n" + said.encode())
    connection.close()
"""
NOTHING = '{"schema": 1, "agent": {}, "tunnels": []}'
ASK = """
from ioconnect.config.paths import under
from ioconnect.errors import Fault
from ioconnect.status import control
from pathlib import Path
try:
    print(control.request(under(Path({home!r})), "GET", "/v1/status", timeout=0.5))
except Fault as fault:
    print(type(fault).__name__, fault.message)
"""


@pytest.fixture
def paths() -> Iterator[Paths]:
    """A home of the ordinary user, with a lock that is held: an agent runs."""
    if os.geteuid() != 0:
        pytest.skip("only root can be two other users")
    with ordinary_user.folder(own=False) as home:
        paths = under(home)
        held = AgentLock.acquire(paths.lock, version="1", started_at="2026-11-22T10:00:00Z")
        for path in (home, paths.lock.parent, paths.lock):  # afterwards: root locks nothing in another's folder
            os.chown(path, NOBODY, NOBODY)
        yield paths
        held.release()


@contextlib.contextmanager
def listening(
    path: Path, *, folder_of: int, socket_of: int, user: int = STRANGER, said: str = NOTHING
) -> Iterator[None]:
    """Have a process of the user listen at `path`; folder and socket belong to these users."""
    path.parent.mkdir(mode=0o755)
    os.chown(path.parent, folder_of, folder_of)
    argv = [sys.executable, "-c", LISTEN, str(path), str(socket_of), str(user), said]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "listens\n"
            yield
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("folder_of", "socket_of", "said"),
    [
        (STRANGER, STRANGER, "the folder {0.parent} belongs to another user (uid 1)"),
        (NOBODY, STRANGER, "the socket {0} belongs to another user (uid 1)"),
        (NOBODY, NOBODY, "a process of another user (uid 1) listens on {0}"),
    ],
)
def test_a_strangers_answer_is_not_believed(paths: Paths, folder_of: int, socket_of: int, said: str) -> None:
    path = paths.control[0]
    with listening(path, folder_of=folder_of, socket_of=socket_of):
        answer = ordinary_user.run("", ASK.format(home=str(path.parent.parent)))

    assert answer.startswith("AgentSilent")
    assert said.format(path) in answer


def test_the_same_listener_as_the_clients_own_is_believed(paths: Paths) -> None:
    """So it is the user that the tests above are about."""
    path = paths.control[0]
    with listening(path, folder_of=NOBODY, socket_of=NOBODY, user=NOBODY):
        answer = ordinary_user.run("", ASK.format(home=str(path.parent.parent)))

    assert answer.startswith("{'schema': 1, ")


@pytest.fixture
def another() -> Iterator[int]:
    """The pid of a process of a third account, which has nothing to do with the agent."""
    with subprocess.Popen(["sleep", "60"], user=STRANGER) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def test_root_trusts_the_account_that_answers_and_not_that_of_the_pid_in_the_answer(
    tmp_path: Path, another: int
) -> None:
    """By whose files `test` and `doctor` judge: it could name a process of whom it likes."""
    paths = under(tmp_path)
    said = json.dumps(to_json(Snapshot(running=True, pid=another, version="1", started_at=None, tunnels=())))

    with listening(paths.control[0], folder_of=NOBODY, socket_of=NOBODY, user=NOBODY, said=said):
        snapshot = observe(paths)

        assert snapshot.pid == another
        assert running_agent.account(snapshot, paths) == NOBODY
        assert examine._account(paths) == NOBODY


def test_nor_that_of_the_pid_in_its_lock(paths: Paths, another: int) -> None:
    """Of an agent that does not answer."""
    paths.lock.write_text(json.dumps({"pid": another}))
    snapshot = observe(paths)

    assert (snapshot.running, snapshot.pid) == (True, another)
    assert running_agent.account(snapshot, paths) == NOBODY
    assert examine._account(paths) == NOBODY
