"""How a connection to the database is made, or not: every address, no hurry lost, and nobody else waits."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.rigs import processes
from tests.rigs.database import BLOCK, Database, drain
from tests.rigs.scripted_jumphost import (
    CLOSE,
    CONFIRMATION,
    DATA,
    EOF,
    OPEN_FAILURE,
    Client,
    ScriptedJumphost,
    data_message,
    open_message,
    pack_id,
)

from ioconnect.agent.targets import target_addresses, target_connect
from ioconnect.config.addresses import HostPort
from ioconnect.ssh.loop import Loop
from ioconnect.status.records import Availability

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ioconnect.agent.session.relay import Relay

NAME = "database.test"
CONNECT_FAILED, RESOURCE_SHORTAGE = 2, 4


@pytest.fixture
def jumphost() -> Iterator[ScriptedJumphost]:
    made = ScriptedJumphost()
    yield made
    made.close()


@pytest.fixture
def database() -> Iterator[Database]:
    with Database() as made:
        yield made


@pytest.fixture
def connect(tmp_path: Path, jumphost: ScriptedJumphost) -> Iterator[Callable[..., Client]]:
    """Return a function that makes the session to a target and waits until it is up."""
    with contextlib.ExitStack() as ends:

        def make(target: HostPort, **tunnel: Any) -> Client:
            client = Client(tmp_path, jumphost, target, **tunnel)
            ends.callback(client.leave)
            client.connected()
            return client

        yield make


class Names:
    """A resolver that knows one name, and what the test says of it."""

    def __init__(self) -> None:
        self.addresses: list[tuple[str, int]] = []
        self.asked = 0
        self.hang = threading.Event()
        self.hang.set()  # not

    def lookup(self) -> list[Any]:
        self.asked += 1
        assert self.hang.wait(30)
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", where) for where in self.addresses]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    """The resolver's answers for the target, and only for it."""
    made = Names()
    real = socket.getaddrinfo

    def lookup(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        is_numeric = more.get("flags", 0) & socket.AI_NUMERICHOST  # asked first, and answered at once
        return made.lookup() if host == NAME and not is_numeric else real(host, port, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    yield made
    made.hang.set()


@pytest.fixture
def full() -> Iterator[int]:
    """A port that listens, and whose queue is so full that the kernel drops every further SYN."""
    with contextlib.ExitStack() as ends:
        listener = ends.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = listener.getsockname()[1]

        def is_full() -> bool:
            probe = ends.enter_context(socket.socket())
            probe.settimeout(0.2)
            try:
                probe.connect(("127.0.0.1", port))
            except TimeoutError:
                return True
            return False

        processes.wait_until(is_full, what="the queue is full")
        yield port


def echo(jumphost: ScriptedJumphost, peer_id: int) -> None:
    """Have a database echo something through a new connection, which then ends."""
    channel = jumphost.open(peer_id)
    jumphost.send(data_message(channel, b"E" + bytes(8) + b"hello"))
    _, body = jumphost.next(DATA)
    assert body[8:] == b"hello"
    jumphost.send(pack_id(CLOSE, channel))
    jumphost.next(CLOSE)


def relay_of(client: Client) -> Relay:
    forward = client.session._forward
    assert forward is not None
    return forward._relay


def reason_of(client: Client) -> str:
    """Return why the target is down."""
    reason = client.counters.target.reason
    assert reason is not None
    return reason.message


def refused(jumphost: ScriptedJumphost, peer_id: int, code: int) -> None:
    kind, body = jumphost.next(OPEN_FAILURE, CONFIRMATION)
    assert (kind, body[:8]) == (OPEN_FAILURE, struct.pack(">II", peer_id, code))


def test_a_database_that_does_not_answer(
    jumphost: ScriptedJumphost, connect: Callable[..., Client], full: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pipeline is refused when the time is up, not before and not much later."""
    monkeypatch.setattr(target_connect, "CONNECT_TIMEOUT", 0.5)
    client = connect(HostPort("127.0.0.1", full))
    for peer_id in range(3):
        jumphost.send(open_message(peer_id))
    for peer_id in range(3):
        refused(jumphost, peer_id, CONNECT_FAILED)

    assert (client.counters.failed, client.counters.open) == (3, 0)
    assert reason_of(client).startswith(f"cannot connect to 127.0.0.1:{full}: 127.0.0.1: no answer in ")
    assert client.counters.target.failed == 3


def test_an_address_that_does_not_answer_delays_nobody(  # noqa: PLR0917  fixtures
    jumphost: ScriptedJumphost,
    connect: Callable[..., Client],
    database: Database,
    full: int,
    names: Names,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While one connection waits for a silent address, others that know a better one flow."""
    monkeypatch.setattr(target_addresses, "REFRESH_AFTER", 0.0)
    names.addresses = [("127.0.0.1", full)]
    client = connect(HostPort(NAME, 1))
    jumphost.send(open_message(1))
    known = relay_of(client).target
    processes.wait_until(lambda: known.known, what="the name is looked up")
    names.addresses = [("127.0.0.1", database.port)]
    # The silent address is what is known; asking for it again brings the other.
    jumphost.send(open_message(2))
    processes.wait_until(lambda: known.known[0].sockaddr[1] == database.port, what="the name is looked up again")

    for peer_id in range(3, 20):
        echo(jumphost, peer_id)
    assert client.counters.open == 2


def test_every_address_is_tried(
    jumphost: ScriptedJumphost, connect: Callable[..., Client], database: Database, names: Names
) -> None:
    """The first refuses, the second is no host's address, the third is the database."""
    nobody = processes.free_port()
    names.addresses = [("127.0.0.1", nobody), ("255.255.255.255", 1), ("127.0.0.1", database.port)]
    client = connect(HostPort(NAME, 1))

    for peer_id in range(3):
        echo(jumphost, peer_id)

    assert client.counters.failed == 0


def test_a_name_that_moves(
    jumphost: ScriptedJumphost, connect: Callable[..., Client], database: Database, names: Names
) -> None:
    """The database fails over: the first refusal has the name looked up again, so the next connection finds it."""
    with Database() as old:
        names.addresses = [("127.0.0.1", old.port)]
        client = connect(HostPort(NAME, 1))
        echo(jumphost, 1)
    names.addresses = [("127.0.0.1", database.port)]

    jumphost.send(open_message(2))
    refused(jumphost, 2, CONNECT_FAILED)
    echo(jumphost, 3)

    assert client.counters.failed == 1


def test_a_name_server_that_fails_for_a_while(
    jumphost: ScriptedJumphost,
    connect: Callable[..., Client],
    database: Database,
    names: Names,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The address that is known, and works, serves on when the name cannot be looked up again."""
    monkeypatch.setattr(target_addresses, "REFRESH_AFTER", 0.0)
    names.addresses = [("127.0.0.1", database.port)]
    client = connect(HostPort(NAME, 1))
    echo(jumphost, 1)
    names.addresses = []

    peer_ids, often = itertools.count(2), names.asked + 10

    def asked_often() -> bool:
        echo(jumphost, next(peer_ids))  # while an earlier question is out, none is asked
        return names.asked >= often

    processes.wait_until(asked_often, what="the name is asked for again")
    assert client.counters.failed == 0


def test_a_name_that_is_gone(
    jumphost: ScriptedJumphost,
    connect: Callable[..., Client],
    database: Database,
    names: Names,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was known long ago is not used; when the name is back, so is the database."""
    monkeypatch.setattr(target_addresses, "MAX_AGE", 0.0)
    names.addresses = [("127.0.0.1", database.port)]
    client = connect(HostPort(NAME, 1))
    echo(jumphost, 1)
    names.addresses = []
    jumphost.send(open_message(2))
    refused(jumphost, 2, CONNECT_FAILED)
    assert reason_of(client) == f"cannot connect to {NAME}:1: its name does not resolve (no such name)"
    names.addresses = [("127.0.0.1", database.port)]
    echo(jumphost, 3)
    assert client.counters.target.state is Availability.UP

    assert (client.counters.failed, client.counters.open) == (1, 0)


def test_a_resolver_that_hangs(
    jumphost: ScriptedJumphost, connect: Callable[..., Client], names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time to connect counts from the pipeline's connection, whatever is waited for."""
    monkeypatch.setattr(target_connect, "CONNECT_TIMEOUT", 0.5)
    names.hang.clear()
    client = connect(HostPort(NAME, 1))  # whose keepalive, the loop's other clock, is a minute
    jumphost.send(open_message(1))

    refused(jumphost, 1, CONNECT_FAILED)
    assert client.counters.open == 0
    assert reason_of(client).endswith(" from the resolver")


def test_a_connection_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens on a port of the ephemeral range, and the kernel gives that very port to our end."""
    port = processes.free_port()
    outcomes: list[str] = []

    class SamePort(socket.socket):
        def connect_ex(self, address: Any) -> int:
            if self.getsockname()[1] == 0:
                self.bind(address)
            return super().connect_ex(address)

    class Connect(target_connect.TargetConnect):
        def connected(self, sock: socket.socket) -> None:
            sock.close()
            outcomes.append("connected")

        def failed(self, why: str, _codes: frozenset[int]) -> None:
            outcomes.append(why)

    loop = Loop()
    connect = Connect(target_addresses.TargetAddresses(HostPort("127.0.0.1", port), loop), loop)
    monkeypatch.setattr(target_connect.socket, "socket", SamePort)
    connect.begin()
    while not outcomes:
        loop.run_once(20)
    loop.close()
    monkeypatch.undo()

    assert outcomes == ["127.0.0.1: Connection refused"]
    with socket.socket() as database:  # without SO_REUSEADDR: no TIME_WAIT keeps it from starting
        database.bind(("127.0.0.1", port))


def shrink_send_buffer(client: Client, channel: int) -> None:
    """Have the kernel keep little of what the database does not read: the rest must wait with us."""
    relay_of(client).connections[channel]._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)


def test_what_is_still_on_its_way_to_the_database_counts(
    jumphost: ScriptedJumphost, connect: Callable[..., Client]
) -> None:
    """A connection that the pipeline closed holds its place until the database has taken, or lost, what was sent."""
    with contextlib.ExitStack() as ends:
        listener = ends.enter_context(socket.create_server(("127.0.0.1", 0)))
        client = connect(HostPort("127.0.0.1", listener.getsockname()[1]), max_connections=2)
        accepted = []
        for peer_id in range(2):
            jumphost.send(open_message(peer_id))
            _, body = jumphost.next(CONFIRMATION)
            channel, window = struct.unpack(">II", body[4:12])
            shrink_send_buffer(client, channel)
            accepted.append(ends.enter_context(listener.accept()[0]))
            for at in range(0, window, 32_000):
                jumphost.send(data_message(channel, BLOCK[: min(32_000, window - at)]))
            jumphost.send(pack_id(EOF, channel))
            jumphost.send(pack_id(CLOSE, channel))
            jumphost.next(CLOSE)

        jumphost.send(open_message(7))
        refused(jumphost, 7, RESOURCE_SHORTAGE)

        assert (client.counters.refused, client.counters.open) == (1, 2)
        drain(accepted[0])
        processes.wait_until(lambda: client.counters.open == 1, what="the place is free again")
        jumphost.open(8)


@pytest.mark.parametrize("ended", [False, True], ids=["it wants to say more", "it said all"])
def test_a_database_that_talks_to_nobody(
    jumphost: ScriptedJumphost, connect: Callable[..., Client], *, ended: bool
) -> None:
    """The pipeline is gone: a database in mid-answer is reset, or it would wait for us, who wait for it, for ever."""
    with contextlib.ExitStack() as ends:
        listener = ends.enter_context(socket.create_server(("127.0.0.1", 0)))
        client = connect(HostPort("127.0.0.1", listener.getsockname()[1]))
        jumphost.send(open_message(1, window=10))
        _, body = jumphost.next(CONFIRMATION)
        channel, window = struct.unpack(">II", body[4:12])
        shrink_send_buffer(client, channel)
        connection = ends.enter_context(listener.accept()[0])
        connection.settimeout(20)
        if ended:
            connection.shutdown(socket.SHUT_WR)
            jumphost.next(EOF)
        else:
            connection.sendall(bytes(1000))
            jumphost.next(DATA)
        for at in range(0, window, 32_000):
            jumphost.send(data_message(channel, BLOCK[: min(32_000, window - at)]))
        jumphost.send(pack_id(EOF, channel))
        jumphost.send(pack_id(CLOSE, channel))
        jumphost.next(CLOSE)

        if ended:
            assert client.counters.open == 1
            assert drain(connection)[0] == window
        processes.wait_until(lambda: client.counters.open == 0, what="the database's connection is over")
        if not ended:
            with pytest.raises(ConnectionResetError):
                drain(connection)
