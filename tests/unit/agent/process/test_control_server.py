"""The control server with a supervisor that answers, is slow, or hangs; nothing wakes it up while nobody asks."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rigs.control_client import ask, get, post
from tests.rigs.processes import remove_folder, wait_until

from ioconnect.agent.process import control_requests, control_server
from ioconnect.agent.process.control_requests import Requests
from ioconnect.agent.process.control_server import serving
from ioconnect.agent.process.upkeep import Upkeep
from ioconnect.agent.supervisor.mailbox import Request, Stop, StopTunnels
from ioconnect.config.paths import under
from ioconnect.errors import ConfigFault, ConfigInvalid, ExitCode, Fault, IdentityMissing
from ioconnect.status import control, lock
from ioconnect.status.control import AgentSilent
from ioconnect.status.lock import AgentLock
from ioconnect.status.peer_credentials import Peer
from ioconnect.status.records import Snapshot, State, TunnelStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ioconnect.agent.supervisor.mailbox import Message
    from ioconnect.config.paths import Paths

TUNNEL = TunnelStatus("orders", State.CONNECTED, "2026-11-22T10:00:00Z", None, "j.test:22", 1, "localhost:3306")
SNAPSHOT = Snapshot(running=True, pid=1, version="0", started_at=None, tunnels=(TUNNEL,))


class Supervisor:
    """A mailbox that answers at once with `reply`; None: never."""

    def __init__(self) -> None:
        self.reply: object = SNAPSHOT
        self.asked: list[object] = []
        self.waiting: list[Callable[[object], None]] = []

    def put(self, message: Message) -> None:
        assert isinstance(message, Request)
        self.asked.append(message.command)
        if self.reply is None:
            self.waiting.append(message.reply)
        else:
            message.reply(self.reply)

    def get(self, deadline: float | None) -> Message | None:
        raise NotImplementedError


@pytest.fixture
def supervisor() -> Supervisor:
    return Supervisor()


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return under(tmp_path)


@pytest.fixture
def path(supervisor: Supervisor, paths: Paths) -> Iterator[Path]:
    """The socket of a server."""
    with serving(paths.control, Requests(supervisor, paths, "1:2")):
        yield paths.control[0]
    assert not paths.control[0].exists()
    wait_until(lambda: not [each for each in threading.enumerate() if each.name.startswith("control")])


def test_a_supervisor_that_hangs_is_said_within_two_seconds_and_holds_no_other_client(
    path: Path, supervisor: Supervisor
) -> None:
    supervisor.reply = None
    began = time.monotonic()
    status, _, document = ask(path, get("/livez"))

    assert (status, document["error"]["exit_code"]) == (504, 69)
    assert 1 < time.monotonic() - began < 2
    supervisor.reply = SNAPSHOT
    assert ask(path, get("/livez"))[0] == 200
    supervisor.waiting[0]("too late for whoever asked, and no harm")


@pytest.mark.parametrize(
    ("states", "query", "status"),
    [
        ([State.CONNECTED, State.STANDBY], "", 200),
        ([State.CONNECTED, State.BACKOFF], "", 503),
        ([State.CONNECTED, State.STOPPED], "", 503),
        ([], "", 503),
        ([State.CONNECTED, State.BACKOFF], "?tunnel=t0", 200),
        ([State.CONNECTED, State.BACKOFF], "?tunnel=t1", 503),
        ([State.CONNECTED], "?tunnel=t1", 404),
    ],
)
def test_ready_is_every_enabled_tunnel_connected_or_in_standby(
    path: Path, supervisor: Supervisor, states: list[State], query: str, status: int
) -> None:
    tunnels = tuple(replace(TUNNEL, name=f"t{number}", state=state) for number, state in enumerate(states))
    disabled = replace(TUNNEL, name="off", state=State.STOPPED, enabled=False)
    supervisor.reply = replace(SNAPSHOT, tunnels=(*tunnels, disabled))

    assert ask(path, get(f"/readyz{query}"))[0] == status


def test_a_fault_arrives_as_it_was_raised(path: Path, paths: Paths, supervisor: Supervisor) -> None:
    assert path.exists()
    supervisor.reply = IdentityMissing("there is no key", hint="Make one.")
    with pytest.raises(Exception, match="there is no key") as missing:
        control.request(paths, "POST", "/v1/reload", {})
    supervisor.reply = ConfigInvalid("two faults", faults=(ConfigFault("tunnels.a", "b"), ConfigFault("c", "d")))
    with pytest.raises(ConfigInvalid) as invalid:
        control.request(paths, "POST", "/v1/reload", {})

    assert (missing.value.exit_code, missing.value.hint) == (ExitCode.NO_INPUT, "Make one.")  # type: ignore[attr-defined]
    assert (invalid.value.exit_code, invalid.value.faults) == (ExitCode.CONFIG, supervisor.reply.faults)


def test_down_without_names_stops_the_agent_and_with_names_these(path: Path, supervisor: Supervisor) -> None:
    supervisor.reply = ("a",)
    assert ask(path, post("/v1/down"))[0] == 200
    assert ask(path, post("/v1/down", b'{"tunnels": ["a", "b", "a"]}'))[0] == 200
    assert ask(path, post("/v1/down", b""))[0] == 200

    assert supervisor.asked == [Stop(), StopTunnels(("a", "b")), Stop()]


def test_only_root_and_the_agents_user_may_change_something(supervisor: Supervisor, paths: Paths) -> None:
    requests = Requests(supervisor, paths, "1:2")
    parsed = control_requests.HttpRequest("POST", "/v1/reload", {}, {}, b"")

    refused = requests.answer(parsed, Peer(4711, 1))
    assert (refused.status, supervisor.asked) == (403, [])
    asked = requests.answer(replace(parsed, method="GET", path="/livez"), Peer(4711, 1))
    assert asked.status == 200


def test_a_client_of_another_lock_is_sent_away(path: Path, supervisor: Supervisor) -> None:
    message = b"GET /livez HTTP/1.1\r\nIoconnect-Lock: %s\r\n\r\n"

    assert ask(path, message % b"3:4")[0] == 421
    assert supervisor.asked == []
    assert ask(path, message % b"1:2")[0] == 200


def test_strangers_leave_room_for_us(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_server, "peer_of", lambda _: Peer(4711, 1))
    with contextlib.ExitStack() as open_ones:
        for _ in range(control_server.MAX_OTHERS):
            open_ones.enter_context(socket.socket(socket.AF_UNIX)).connect(str(path))
        assert ask(path, get("/livez"))[0] == 503
        monkeypatch.undo()
        assert ask(path, get("/livez"))[0] == 200


def test_without_a_thread_clients_are_answered_one_after_another(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(control_server.threading, "Thread", refuse)
    assert ask(path, get("/livez"))[0] == 200
    assert ask(path, get("/livez"))[0] == 200


def test_a_change_that_takes_long_is_not_told_as_a_frozen_agent(
    path: Path, paths: Paths, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk of the configuration may hang: nobody is told to end an agent whose tunnels are well."""
    assert path.is_socket()
    monkeypatch.setattr(control_requests, "CHANGE_TIMEOUT", 0.05)
    supervisor.reply = None
    with pytest.raises(AgentSilent, match="it has not done that in time") as silent:
        control.request(paths, "POST", "/v1/reload", {})
    assert "ioconnect down" not in silent.value.hint


def test_what_was_removed_or_replaced_is_made_anew(
    paths: Paths, supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock and the sockets of a running agent, whatever became of their folders."""
    monkeypatch.setattr(control_server, "UPKEEP_INTERVAL", 0.05)
    lock_file, path = paths.lock, paths.control[0]
    held = AgentLock.acquire(lock_file, version="1", started_at="then")
    with serving(paths.control, Requests(supervisor, paths, lock.identity(lock_file)), held):
        path.unlink()
        wait_until(lambda: path.is_socket() and ask(path, get("/livez"))[0] == 200)
        remove_folder(paths.state)
        wait_until(lambda: lock.holder(lock_file) == os.getpid())
        before = tmp_path / "renamed"
        paths.state.rename(before)
        path.parent.rename(tmp_path / "old run")
        wait_until(lambda: lock.holder(lock_file) == os.getpid() and path.is_socket())
        assert control.request(paths, "GET", "/livez") == {"live": True}
        assert lock.holder(before / lock_file.name) == os.getpid(), "whoever looks there finds the agent too"
    held.release()


def test_what_cannot_be_made_anew_is_said_once(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another agent has taken the lock and the socket's place: nothing is taken from it."""
    held = AgentLock.acquire(paths.lock, version="1", started_at="then")
    upkeep = Upkeep(paths.control, held)
    (bound,) = upkeep.restore()
    paths.control[0].unlink()
    paths.lock.unlink()
    other = AgentLock.acquire(paths.lock, version="2", started_at="now")
    monkeypatch.setattr(lock, "SHARED_LOCK_TIMEOUT", 0.01)
    paths.control[0].write_text("theirs")
    for _ in range(3):
        assert upkeep.restore() == [bound]
    bound.close()

    assert paths.control[0].read_text() == "theirs"
    assert [message.partition(":")[0] for message in caplog.messages] == [
        f"another agent (pid {os.getpid()}) has locked {paths.lock} anew",
        "no control socket",
    ]
    other.release()
    held.release()


def test_one_too_many_gets_its_answer_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing a socket with unread data in it would end the answer in a reset."""
    monkeypatch.setattr(control_server, "MAX_CLIENTS", 0)
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(get("/livez"))
            received = b""
            while data := client.recv(4096):
                received += data
            assert received.startswith(b"HTTP/1.1 503 ")


def test_an_answer_counts_though_its_connection_is_reset_after_it(paths: Paths) -> None:
    paths.control[0].parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(paths.control[0]))
        listener.listen()

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1)
                connection.sendall(
                    control_server.encoded(control_server.error(503, "not now", exit_code=ExitCode.TEMP_FAIL))
                )

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(Fault, match="not now"):
            control.request(paths, "GET", "/livez")
        thread.join()


def test_nothing_wakes_the_thread_up_while_nobody_asks(path: Path) -> None:
    if not Path("/proc/self/task").exists():
        pytest.skip("context switches are counted in Linux's /proc")
    assert ask(path, get("/livez"))[0] == 200
    thread = next(each for each in threading.enumerate() if each.name == "control")
    status = Path(f"/proc/self/task/{thread.native_id}/status")

    def switches() -> str:
        return status.read_text().partition("voluntary_ctxt_switches:")[2]

    wait_until(lambda: "\nState:\tS" in status.read_text())  # asleep again after the question
    before, end = switches(), time.monotonic() + 1.5
    wait_until(lambda: time.monotonic() > end)
    assert switches() == before


def connect_many(path: Path, count: int, closing: contextlib.ExitStack) -> None:
    """Connect clients that send nothing."""
    for _ in range(count):
        connection = closing.enter_context(socket.socket(socket.AF_UNIX))
        connection.settimeout(5)
        connection.connect(str(path))


@pytest.fixture
def held(paths: Paths) -> Iterator[None]:
    """The lock of an agent."""
    lock_of_agent = AgentLock.acquire(paths.lock, version="1", started_at="then")
    yield
    lock_of_agent.release()


@pytest.mark.parametrize("is_held", [True, False])
def test_clients_that_send_nothing_make_room(
    path: Path, paths: Paths, request: pytest.FixtureRequest, *, is_held: bool
) -> None:
    """Also those of an agent whose lock file was removed, which is not told as ended."""
    if is_held:
        request.getfixturevalue("held")
    with contextlib.ExitStack() as closing:
        connect_many(path, control_server.MAX_CLIENTS, closing)
        began = time.monotonic()
        assert control.request(paths, "GET", "/livez") == {"live": True}
        assert time.monotonic() - began < control.TIMEOUT / 2


def test_another_users_client_ends_none_of_ours(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.ExitStack() as closing:
        connect_many(path, control_server.MAX_CLIENTS, closing)
        wait_until(lambda: ask(path, get("/livez"))[0] == 503)  # all of them are accepted
        monkeypatch.setattr(control_server, "PATIENCE", -1)
        with monkeypatch.context() as stranger:
            stranger.setattr(Requests, "may_change", staticmethod(lambda _peer: False))
            assert ask(path, get("/livez"))[0] == 503
        assert ask(path, get("/livez"))[0] == 200


def test_a_busy_agent_whose_lock_file_is_gone_is_told_as_busy(
    path: Path, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert path.is_socket()
    monkeypatch.setattr(control_server, "MAX_CLIENTS", 0)
    began = time.monotonic()
    with pytest.raises(AgentSilent, match="too many other clients") as silent:
        control.request(paths, "GET", "/livez", timeout=0.3)

    assert silent.value.pid == os.getpid()
    assert "Try again" in silent.value.hint
    assert 0.2 < time.monotonic() - began < 1


@pytest.mark.usefixtures("held")
def test_a_flood_of_connections_keeps_nobody_from_the_agent(path: Path, paths: Paths) -> None:
    """What waits behind them in the backlog would be told as a frozen agent."""
    with contextlib.ExitStack() as closing:
        connect_many(path, control_server.MAX_CLIENTS + 110, closing)
        assert control.request(paths, "GET", "/livez") == {"live": True}


def test_a_probe_touches_no_file_of_the_state_folder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its disk may hang, and curl's probes, one after the other, would take every place."""

    def hang(_: object) -> str:
        raise AssertionError("it hangs")

    monkeypatch.setattr(lock, "identity", hang)
    assert ask(path, get("/livez"))[0] == 200
