"""What a tunnel does to bytes, through a real sshd; the same for OpenSSH's own client where it can do it."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from typing import TYPE_CHECKING

import pytest
from tests.rigs import database, processes
from tests.rigs.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.interop.conftest import OpenTunnel
    from tests.rigs.customer import Customer
    from tests.rigs.sshd import Sshd

MIB = 1 << 20
PROMPTLY = 3.0  # seconds until a pipeline must know that there is no database


@pytest.fixture
def target() -> Iterator[Database]:
    """A database that speaks bytes."""
    with Database() as listening:
        yield listening


def test_an_answer_after_the_clients_eof_arrives_whole(open_tunnel: OpenTunnel, target: Database) -> None:
    """The client has said all it will say; 20 MiB still come back."""
    port = open_tunnel(target.port)

    got, digest, back = database.push(port, 1000, back=20 * MIB)

    assert (got, digest) == (1000, database.sha256_of(1000))
    assert back == (20 * MIB, database.sha256_of(20 * MIB))
    processes.wait_until(lambda: target.endings, what="the database's connection ends")
    assert target.endings == ["eof"]


def test_a_client_goes_on_after_the_databases_eof(open_tunnel: OpenTunnel, target: Database) -> None:
    """The database has said all it will say; what the client sends then still arrives, up to its own EOF."""
    port = open_tunnel(target.port)

    with database.call(port, b"S", 1000) as connection:
        assert database.drain(connection) == (1000, database.sha256_of(1000))
        assert target.endings == []
        for piece in database.pieces(20 * MIB):
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
        processes.wait_until(lambda: target.endings, what="the database's connection ends")

    assert target.endings == ["eof"]
    assert target.received == 20 * MIB


def test_64_mib_each_way_are_the_same_bytes(open_tunnel: OpenTunnel, target: Database) -> None:
    port = open_tunnel(target.port)

    assert database.pull(port, 64 * MIB) == (64 * MIB, database.sha256_of(64 * MIB))
    got, digest, _ = database.push(port, 64 * MIB)
    assert (got, digest) == (64 * MIB, database.sha256_of(64 * MIB))


def test_200_connections_at_once(open_tunnel: OpenTunnel, target: Database) -> None:
    """Each has its own echo, in whatever order they speak."""
    port = open_tunnel(target.port)

    with contextlib.ExitStack() as open_connections:
        connections = [open_connections.enter_context(database.call(port, b"E")) for _ in range(200)]
        for number, connection in enumerate(connections):
            connection.sendall(struct.pack(">Q", number) * 1000)
        answers = [database.exactly(connection, 8000) for connection in reversed(connections)]

    assert answers == [struct.pack(">Q", number) * 1000 for number in reversed(range(200))]
    processes.wait_until(lambda: len(target.endings) == 200, what="every connection ends")
    assert set(target.endings) == {"eof"}


def refused_after(port: int) -> float:
    """Return how many seconds it takes until the jumphost's side ends a connection that leads nowhere."""
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
        return time.monotonic() - begin


def test_a_database_that_is_down_is_refused_promptly(open_tunnel: OpenTunnel) -> None:
    """And the tunnel stays: when the database is back, so is its service, at once."""
    nobody = processes.free_port()
    port = open_tunnel(nobody)

    assert max(refused_after(port) for _ in range(5)) < PROMPTLY

    with Database(nobody):
        assert database.pull(port, 1000) == (1000, database.sha256_of(1000))


def test_a_database_that_is_down_is_counted(customer: Customer, set_up: Callable[..., int]) -> None:
    port = set_up(processes.free_port())
    customer.run("up", "--daemon")

    refused_after(port)

    processes.wait_until(lambda: customer.tunnel()["connections"]["failed"] == 1, what="the failure is counted")
    seen = customer.tunnel()
    assert (seen["state"], seen["reconnects"], seen["connections"]["open"]) == ("connected", 0, 0)


def test_a_link_that_is_cut_resets_the_database(
    customer: Customer, sshd: Sshd, set_up: Callable[..., int], target: Database
) -> None:
    """Half a transaction must not look like a whole one: the database sees a reset, never a clean end."""
    port = set_up(target.port)
    customer.run("up", "--daemon")

    with database.call(port, b"K") as connection:
        connection.sendall(database.BLOCK)
        processes.wait_until(lambda: target.received == len(database.BLOCK), what="the first part arrives")
        sshd.kill_sessions()
        processes.wait_until(lambda: target.endings, what="the database notices")

    assert target.endings == ["reset"]
    customer.wait_for("connected")
    assert database.pull(port, MIB) == (MIB, database.sha256_of(MIB))


def test_a_cut_under_load_ends_every_connection(
    customer: Customer, sshd: Sshd, set_up: Callable[..., int], target: Database
) -> None:
    """Also those that wait for their client to read."""
    port = set_up(target.port)
    customer.run("up", "--daemon")

    with contextlib.ExitStack() as open_connections:
        for _ in range(8):
            connection = open_connections.enter_context(database.call(port, b"S", 256 * MIB))
            assert connection.recv(1) == database.BLOCK[:1]
        sshd.kill_sessions()
        processes.wait_until(lambda: len(target.endings) == 8, what="the database notices")

    assert set(target.endings) == {"reset"}
    customer.wait_for("connected")
    assert customer.tunnel()["connections"]["open"] == 0


@pytest.mark.parametrize(
    "lines", [["RekeyLimit 2M"], ["Ciphers aes256-ctr"], ["Ciphers chacha20-poly1305@openssh.com,aes128-ctr"]]
)
def test_whatever_the_jumphost_prefers(
    customer: Customer, sshd: Sshd, set_up: Callable[..., int], target: Database, lines: list[str]
) -> None:
    """It asks for new keys all the time, or knows no AES-GCM: the bytes are the same."""
    sshd.config += lines
    sshd.restart()
    port = set_up(target.port)
    customer.run("up", "--daemon")

    assert database.pull(port, 16 * MIB) == (16 * MIB, database.sha256_of(16 * MIB))
    got, digest, back = database.push(port, 16 * MIB, back=16 * MIB)
    assert (got, digest) == (16 * MIB, database.sha256_of(16 * MIB))
    assert back == (16 * MIB, database.sha256_of(16 * MIB))
    assert customer.tunnel()["reconnects"] == 0
