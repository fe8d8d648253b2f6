"""The check of the database: a server is identified, and a silent port is told from a refused one."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes
from tests.rigs.handshakes import black_hole, mongodb, mysql, oracle, says, silence, sql_server
from tests.rigs.proxies import Scripted, certified, inside_tls, read_exactly

from ioconnect.agent.dial.resolve import Address
from ioconnect.checks import target_check, tcp_check
from ioconnect.checks.databases.identify import identify
from ioconnect.config.addresses import HostPort
from ioconnect.errors import TargetUnreachable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.rigs.proxies import Script

    from ioconnect.checks.results import Finding


@contextlib.contextmanager
def served(script: Script) -> Iterator[HostPort]:
    server = Scripted(script)
    try:
        yield HostPort("127.0.0.1", server.port)
    finally:
        server.stop()


def found(script: Script) -> Finding:
    """Check a server at a port that is no database's."""
    with served(script) as where:
        return target_check.check(where)


def at_its_port(script: Script, port: int) -> str:
    """Identify a server as if it were at this port."""
    with served(script) as where:
        server, _ = identify(
            lambda seconds: socket.create_connection((where.host, where.port), seconds), port, time.monotonic() + 10
        )
    assert server is not None
    return f"{server.name} {server.version} {server.tls}"


@pytest.mark.parametrize(
    ("script", "port", "expected"),
    [
        (sql_server(), 1433, "SQL Server 2019 (15.0.4236) True"),
        (sql_server((10, 50, 6000), encryption=0x02), 1433, "SQL Server 2008 (10.50.6000) False"),
        (oracle(), 1521, "Oracle listener 12.1.0.2.0 None"),
        (oracle(tells=False, resends=1), 1521, "Oracle listener 19.0.0.0.0 None"),
        (mongodb(), 27017, "MongoDB 7.0.14 False"),
        (mongodb(None, wire_version=25), 27017, "MongoDB 8.0 False"),
        (mysql("11.4.2-MariaDB"), 3306, "MariaDB 11.4.2-MariaDB True"),
    ],
)
def test_a_database_at_its_usual_port(script: Script, port: int, expected: str) -> None:
    assert at_its_port(script, port) == expected


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (mysql("8.4.3"), "MySQL 8.4.3 at"),
        (sql_server(), "SQL Server 2019 (15.0.4236) at"),
        (mongodb(), "MongoDB 7.0.14 at"),
        (oracle(), "Oracle listener 12.1.0.2.0 at"),
    ],
)
def test_a_database_at_any_port(script: Script, expected: str) -> None:
    """Who speaks first is told at once; the others are asked one after another."""
    finding = found(script)

    assert finding.detail.startswith(expected)


def test_a_database_at_anothers_port() -> None:
    assert at_its_port(mysql("8.4.3"), 5432) == "MySQL 8.4.3 True"
    assert at_its_port(mongodb(), 1433) == "MongoDB 7.0.14 False"


def test_postgresql_tells_inside_tls(tmp_path: Path) -> None:
    context, _ = certified(tmp_path)

    def answer(connection: socket.socket) -> None:
        read_exactly(connection, 9)
        text = b"SFATAL\0Munsupported frontend protocol 4.0: server supports 3.0 to 3.2\0\0"
        connection.sendall(b"E" + struct.pack(">I", len(text) + 4) + text)

    def postgresql(connection: socket.socket) -> None:
        if read_exactly(connection, 8) == bytes.fromhex("0000000804d2162f"):
            connection.sendall(b"S")
            with contextlib.suppress(ssl.SSLError):
                inside_tls(context, answer)(connection)

    assert at_its_port(postgresql, 5432) == "PostgreSQL 18 or newer True"


def test_an_ssh_server_is_no_postgresql_with_tls() -> None:
    """Though it begins with the same letter."""
    with served(says(b"SSH-2.0-OpenSSH_9.2p1\r\n")) as where:
        server, said = identify(
            lambda seconds: socket.create_connection((where.host, where.port), seconds), 5432, time.monotonic() + 10
        )

    assert (server, said) == (None, b"SSH-2.0-OpenSSH_9.2p1\r\n")


def test_mongodb_that_takes_nothing_but_tls(tmp_path: Path) -> None:
    context, _ = certified(tmp_path)

    def tls_only(connection: socket.socket) -> None:
        if connection.recv(1, socket.MSG_PEEK) == b"\x16":  # a TLS record
            with contextlib.suppress(ssl.SSLError):
                inside_tls(context, mongodb())(connection)

    assert at_its_port(tls_only, 27017) == "MongoDB 7.0.14 True"


def test_no_tls_over_a_network_is_a_warning_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(target: HostPort, deadline: float) -> tuple[socket.socket, Address]:
        return connect(target, deadline)[0], Address(socket.AF_INET, ("192.0.2.7", target.port))

    connect = tcp_check.connect
    monkeypatch.setattr(tcp_check, "connect", elsewhere)
    finding = found(mysql("8.4.3", tls=False))

    assert finding.warning
    assert "(192.0.2.7); it allows no TLS" in finding.detail
    assert "Turn TLS on" in finding.hint


def test_no_tls_on_this_machine_is_no_warning() -> None:
    """A loopback database without TLS always warned."""
    finding = found(mysql("8.4.3", tls=False))

    assert (finding.warning, finding.hint) == (False, "")
    assert "allows no TLS" in finding.detail


def test_what_is_no_database_is_quoted_escaped() -> None:
    finding = found(says(b"220 \x1b[31mmail ready\r\n"))

    assert not finding.warning
    assert r"no database that this check knows, it says: 220 \x1b[31mmail ready\r\n" in finding.detail


def test_silence_is_plain_tcp_in_time() -> None:
    began = time.monotonic()
    finding = found(silence)

    assert finding.detail.endswith("takes connections, but is no database that this check knows")
    assert time.monotonic() - began < target_check.TIMEOUT + 1


def test_a_version_cannot_paint_the_terminal() -> None:
    assert r"MySQL 8\x1b[2J at" in found(mysql("8\x1b[2J")).detail


def test_a_database_that_rejects_this_host() -> None:
    body = b"\xff\x6a\x04Host '10.0.0.7' is not allowed to connect to this MariaDB server"
    with pytest.raises(TargetUnreachable) as caught:
        found(says(len(body).to_bytes(3, "little") + b"\0" + body))

    assert "turns this machine away: Host '10.0.0.7' is not allowed" in caught.value.message


def test_nothing_listens() -> None:
    with pytest.raises(TargetUnreachable) as caught:
        target_check.check(HostPort("127.0.0.1", processes.free_port()))

    assert "nothing listens on 127.0.0.1:" in caught.value.message
    assert "refused by 127.0.0.1" in caught.value.message


def test_it_listens_on_another_address_of_this_machine_only() -> None:
    """The fix is ready to paste."""
    with served(mysql("8.4.3")) as where, pytest.raises(TargetUnreachable) as caught:
        target_check.check(HostPort("127.0.0.2", where.port))

    assert f"something listens on 127.0.0.1:{where.port} only" in caught.value.message
    assert f'set target = "127.0.0.1:{where.port}"' in caught.value.hint


def test_nobody_answers() -> None:
    with black_hole() as port, pytest.raises(TargetUnreachable) as caught:
        target_check.check(HostPort("127.0.0.1", port))

    assert "within 3 s: filtered" in caught.value.message
    assert f"allow TCP from this machine to port {port}" in caught.value.hint


def test_a_name_that_does_not_resolve() -> None:
    with pytest.raises(TargetUnreachable) as caught:
        target_check.check(HostPort("no-such-database.invalid", 3306))

    assert "the database's name no-such-database.invalid does not resolve here" in caught.value.message
