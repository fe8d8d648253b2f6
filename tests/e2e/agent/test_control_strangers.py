"""A client beside the control socket of another real user, who would tell it that all is well."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.rigs import ordinary_user
from tests.rigs.ordinary_user import NOBODY

from ioconnect.checks import running_agent
from ioconnect.commands.run import down
from ioconnect.commands.setup import service
from ioconnect.config.paths import under
from ioconnect.console.invocation import Invocation
from ioconnect.doctor import examine
from ioconnect.errors import SystemRefused
from ioconnect.installers import installed, journal, service_manager
from ioconnect.installers.service import Kind
from ioconnect.status import control
from ioconnect.status.lock import AgentLock
from ioconnect.status.observe import agent_pid, observe
from ioconnect.status.peer_credentials import Peer
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
) -> Iterator[int]:
    """Have a process of the user listen at `path`, and yield its pid; folder and socket belong to these users."""
    path.parent.mkdir(mode=0o755)
    os.chown(path.parent, folder_of, folder_of)
    argv = [sys.executable, "-c", LISTEN, str(path), str(socket_of), str(user), said]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "listens\n"
            yield process.pid
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


@contextlib.contextmanager
def service_of(account: int, home: Path, said: object, *, locked: str | None) -> Iterator[tuple[Paths, int]]:
    """Yield the files of a service that an account runs in root's folder, and the pid of its agent, which says this.

    `locked` is in its lock, None if that is free.
    """
    paths = under(home)
    home.chmod(0o755)
    paths.state.mkdir(exist_ok=True)
    with contextlib.ExitStack() as life:
        if locked is not None:
            paths.lock.write_text(locked)
            for path in (paths.state, paths.lock):
                os.chown(path, account, account)
            fcntl.flock(life.enter_context(paths.lock.open()), fcntl.LOCK_EX)
        socket = paths.control[0]
        how = {"folder_of": account, "socket_of": account, "user": account, "said": json.dumps(said)}
        yield paths, life.enter_context(listening(socket, **how))


def naming(pid: int) -> dict[str, object]:
    """Return the status of an agent that says that it has this pid."""
    return to_json(Snapshot(running=True, pid=pid, version="1", started_at=None, tunnels=()))


ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two other users")


@ROOT
@pytest.mark.parametrize("locked", [None, "{}", '{"pid": %d}'])
@pytest.mark.parametrize("is_empty", [True, False])
def test_root_stops_the_service_of_the_process_that_listens_and_not_of_the_pid_that_it_names(
    tmp_path: Path, another: int, monkeypatch: pytest.MonkeyPatch, locked: str | None, *, is_empty: bool
) -> None:
    """And reads its journal: it could name the main process of any service, in its answer and in its lock."""
    asked: list[int] = []
    monkeypatch.setattr(service_manager, "manager_of", asked.append)
    monkeypatch.setattr(journal, "_unit_with_main_pid", asked.append)
    monkeypatch.setattr(down, "stop", lambda *_, **__: None)
    monkeypatch.setenv("IOCONNECT_HOME", str(tmp_path))
    named = locked % another if locked is not None and "%" in locked else locked

    with service_of(NOBODY, tmp_path, {} if is_empty else naming(another), locked=named) as (paths, listener):
        down.stop_agent(Invocation())
        journal.journal_of(paths, {})

        assert asked == [listener] * 2


@ROOT
def test_a_service_whose_process_the_kernel_does_not_name_is_stopped_as_systemd_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no socket, and its lock names nobody."""
    asked: list[int] = []
    monkeypatch.setattr(service_manager, "manager_of", asked.append)
    monkeypatch.setattr(service_manager, "unit_properties", lambda *_: {"MainPID": "4711"})
    monkeypatch.setattr(installed, "service_for", lambda *_: (Kind.SYSTEMD, tmp_path))
    monkeypatch.setattr(control, "answering", lambda _paths: None)
    monkeypatch.setattr(down, "stop", lambda *_, **__: None)
    monkeypatch.setenv("IOCONNECT_HOME", str(tmp_path))

    with service_of(NOBODY, tmp_path, {}, locked="{}"):
        down.stop_agent(Invocation())

    assert asked == [4711]


@ROOT
def test_nor_of_a_process_that_has_its_pid_since(
    tmp_path: Path, another: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the kernel tells is who began to listen: that process may have ended."""
    monkeypatch.setattr(control, "answering", lambda _paths: Peer(NOBODY, another))

    assert agent_pid(under(tmp_path)) == 0


@ROOT
@pytest.mark.parametrize("answers", [True, False])
def test_setup_starts_no_agent_as_root_because_another_accounts_names_a_process_of_roots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, answers: bool
) -> None:
    """Instead of the one that it stopped, if the installation fails: with the names of tunnels from its answer."""
    monkeypatch.setenv("IOCONNECT_HOME", str(tmp_path))
    monkeypatch.setattr(service, "manager_of", lambda _pid: None)
    monkeypatch.setattr(service, "stop_agent", lambda _invocation: None)
    monkeypatch.setattr(service, "_has_agent", lambda _invocation: False)
    monkeypatch.setattr(service, "start_agent", lambda *words: pytest.fail(f"started {words}"))
    lock = json.dumps({"pid": os.getpid()})
    said = naming(os.getpid()) if answers else {}

    with (
        service_of(NOBODY, tmp_path, said, locked=lock),
        pytest.raises(SystemRefused),
        service._unmanaged_agent_stopped(Invocation()),
    ):
        raise SystemRefused("the installation fails")

    assert f"not root's: uid {NOBODY} may start it again" in capsys.readouterr().err


@ROOT
def test_an_agent_whose_account_is_not_known_is_not_started_as_root_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IOCONNECT_HOME", str(tmp_path))
    monkeypatch.setattr(service, "manager_of", lambda _pid: None)
    monkeypatch.setattr(service, "stop_agent", lambda _invocation: None)
    monkeypatch.setattr(service, "_has_agent", lambda _invocation: False)
    monkeypatch.setattr(service, "start_agent", lambda *words: pytest.fail(f"started {words}"))
    monkeypatch.setattr(running_agent, "account", lambda *_: None)

    with (
        service_of(NOBODY, tmp_path, {}, locked="{}"),
        pytest.raises(SystemRefused),
        service._unmanaged_agent_stopped(Invocation()),
    ):
        raise SystemRefused("the installation fails")

    assert "not known" in capsys.readouterr().err
