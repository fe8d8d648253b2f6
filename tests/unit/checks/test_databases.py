"""Protocol probes byte by byte: what is parsed from a reply, and which replies are refused."""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioconnect.checks.databases import bson, mongodb, mysql, oracle, postgres, redis, sqlserver
from ioconnect.checks.databases.protocol_probe import (
    MAX_READ,
    Action,
    ClientRejected,
    ProtocolMismatch,
    Server,
    TlsRefused,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ioconnect.checks.databases.protocol_probe import Probe

PROBES = [
    mongodb.probe,
    mysql.probe,
    oracle.probe,
    postgres.probe,
    redis.probe,
    sqlserver.probe,
]


class ScriptedServer:
    """A server with a scripted reply for each connection, unencrypted or inside TLS."""

    def __init__(self, *connections: bytes, inside_tls: bytes | None = None, silent: bool = False) -> None:
        self.sent: list[bytes] = []
        self._connections = list(connections)
        self._tls = inside_tls
        self._left = self._connections.pop(0)
        self._trouble: Exception = TimeoutError() if silent else EOFError()

    def perform(self, step: bytes | int | Action) -> bytes:
        if step is Action.RECONNECT:
            self._left = self._connections.pop(0) if self._connections else b""
        elif step is Action.TLS:
            if self._tls is None:
                raise TlsRefused
            self._left = self._tls
        elif isinstance(step, bytes):
            self.sent.append(step)
        else:
            assert isinstance(step, int)
            assert 0 <= step <= MAX_READ
            if len(self._left) < step:
                raise self._trouble
            data, self._left = self._left[:step], self._left[step:]
            return data
        return b""


def play(probe: Probe, scripted: ScriptedServer) -> Server:
    try:
        step = next(probe)
        for _ in range(10_000):
            try:
                answer = scripted.perform(step)
            except (EOFError, TimeoutError, TlsRefused) as error:  # noqa: PERF203  a test
                step = probe.throw(error)
            else:
                step = probe.send(answer)
    except StopIteration as end:
        server: Server = end.value
        return server
    pytest.fail("it never ends")


def error_of_postgres(text: str) -> bytes:
    body = b"SFATAL\0VFATAL\0C0A000\0M" + text.encode() + b"\0Fpostmaster.c\0L2222\0\0"
    return b"E" + struct.pack(">I", len(body) + 4) + body


@pytest.mark.parametrize(
    ("supported", "version"),
    [
        ("server supports 1.0 to 3.0", "13 or older"),
        ("server supports 2.0 to 3.0", "13 or older"),
        ("server supports 3.0 to 3.0", "14 to 17"),
        ("server supports 3.0 to 3.2", "18 or newer"),
        ("no such words", ""),
    ],
)
def test_postgresql_tells_its_range_without_authentication(supported: str, version: str) -> None:
    refusal = error_of_postgres(f"unsupported frontend protocol 4.0: {supported}")

    assert play(postgres.probe(), ScriptedServer(b"N" + refusal)) == Server("PostgreSQL", version, tls=False)
    assert play(postgres.probe(), ScriptedServer(b"S", inside_tls=refusal)) == Server("PostgreSQL", version, tls=True)


def test_postgresql_behind_a_pooler_that_hangs_up() -> None:
    assert play(postgres.probe(), ScriptedServer(b"N")) == Server("PostgreSQL", "", tls=False)


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH_9.2\r\n", b"NOPE", b"220 mail\r\n", b"\0"])
def test_what_is_not_postgresql(said: bytes) -> None:
    """An S of an SSH server promises no TLS."""
    with pytest.raises(ProtocolMismatch):
        play(postgres.probe(), ScriptedServer(said))


def greeting(version: bytes, capabilities: int = 0xF7FE | 0x0800) -> bytes:
    body = bytes([10]) + version + b"\0" + struct.pack("<I8sB", 7, b"challeng", 0) + struct.pack("<H", capabilities)
    body += b"\x21\x02\0\xff\x81\x15" + bytes(10) + b"twelve bytes\0"
    return len(body).to_bytes(3, "little") + b"\0" + body


def test_mysql_and_mariadb_greet_with_their_version() -> None:
    assert play(mysql.probe(), ScriptedServer(greeting(b"8.4.3"))) == Server("MySQL", "8.4.3", tls=True)
    maria = play(mysql.probe(), ScriptedServer(greeting(b"5.5.5-10.11.6-MariaDB-log", 0xF7FE & ~0x0800)))
    assert maria == Server("MariaDB", "10.11.6-MariaDB-log", tls=False)
    assert play(mysql.probe(), ScriptedServer(greeting(b"11.4.2-MariaDB"))).version == "11.4.2-MariaDB"


def test_mysql_that_rejects_this_host() -> None:
    body = b"\xff\x6a\x04Host '10.0.0.7' is not allowed to connect"
    with pytest.raises(ClientRejected, match="is not allowed to connect"):
        play(mysql.probe(), ScriptedServer(len(body).to_bytes(3, "little") + b"\0" + body))


@pytest.mark.parametrize(
    "said", [b"SSH-2.0-OpenSSH_9.2\r\n", greeting(b"x" * 200), greeting(b"8.4.3")[:20], b"\0\0\0\0"]
)
def test_what_is_not_mysql(said: bytes) -> None:
    with pytest.raises((ProtocolMismatch, EOFError)):
        play(mysql.probe(), ScriptedServer(said))


def prelogin(options: bytes, data: bytes) -> bytes:
    return struct.pack(">BBHHBB", 4, 1, 8 + len(options + data), 0, 1, 0) + options + data


@pytest.mark.parametrize(("encryption", "tls"), [(0x00, True), (0x01, True), (0x02, False), (0x03, True)])
def test_sql_server_tells_version_and_encryption(encryption: int, tls: bool) -> None:  # noqa: FBT001  a table
    options = struct.pack(">BHHBHHB", 0, 11, 6, 1, 17, 1, 0xFF)
    answer = prelogin(options, struct.pack(">BBHHB", 16, 0, 4115, 0, encryption))

    scripted = ScriptedServer(answer)
    assert play(sqlserver.probe(), scripted) == Server("SQL Server", "2022 (16.0.4115)", tls=tls)
    assert scripted.sent == [
        bytes.fromhex("1201001a00000100 00000b0006 0100110001 ff 000000000000 00".replace(" ", ""))
    ]


@pytest.mark.parametrize(
    ("options", "data"),
    [
        (struct.pack(">BHHB", 0, 600, 6, 0xFF), bytes(6)),  # outside of the packet
        (struct.pack(">BHHB", 0, 6, 600, 0xFF), bytes(6)),
        (struct.pack(">BHH", 0, 5, 6), bytes(6)),  # no terminator
        (b"\xff", b""),  # no version
        (struct.pack(">BHHB", 0, 6, 2, 0xFF), bytes(2)),
    ],
)
def test_a_prelogin_that_lies_about_lengths(options: bytes, data: bytes) -> None:
    with pytest.raises(ProtocolMismatch):
        play(sqlserver.probe(), ScriptedServer(prelogin(options, data)))


def tns(kind: int, body: bytes = b"") -> bytes:
    return struct.pack(">HHBBH", 8 + len(body), 0, kind, 0, 0) + body


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        (tns(4, b"\x22\0\0\x40(DESCRIPTION=(TMP=)(VSNNUM=186647296)(ERR=1189))"), "11.2.0.3.0"),
        (tns(4, b"(DESCRIPTION=(VSNNUM=318767104)(ERR=12514))"), "19.0.0.0.0"),
        (tns(2, bytes(24)) + tns(6, b"\0\0TNSLSNR for Linux: Version 12.1.0.2.0 - Production"), "12.1.0.2.0"),
        (tns(11) + tns(4, b"(DESCRIPTION=(ERR=1))"), ""),
        (tns(2, bytes(24)), ""),
    ],
)
def test_an_oracle_listener_by_its_banner_or_its_refusal(answer: bytes, version: str) -> None:
    assert play(oracle.probe(), ScriptedServer(answer)) == Server("Oracle listener", version)


def test_an_oracle_listener_gets_its_request_where_the_packet_says() -> None:
    scripted = ScriptedServer(tns(11) + tns(4, b"()"))
    play(oracle.probe(), scripted)

    assert len(scripted.sent) == 2
    length, question_length, question_at = struct.unpack_from(">H22xHH", scripted.sent[0])
    assert length == len(scripted.sent[0])
    assert scripted.sent[0][question_at:] == b"(CONNECT_DATA=(COMMAND=version))"
    assert question_length == len(scripted.sent[0]) - question_at


def test_a_listener_that_always_wants_it_again() -> None:
    with pytest.raises(ProtocolMismatch):
        play(oracle.probe(), ScriptedServer(tns(11) * 9))


def message(number: int, document: bytes) -> bytes:
    body = struct.pack("<IB", 0, 0) + document
    return struct.pack("<iiii", 16 + len(body), 77, number, 2013) + body


HELLO = message(1, bson.encode({"maxWireVersion": 21, "ok": 1}))


def test_mongodb_tells_its_version() -> None:
    info = message(2, bson.encode({"version": "7.0.14", "ok": 1}))

    assert play(mongodb.probe(), ScriptedServer(HELLO + info)) == Server("MongoDB", "7.0.14", tls=False)
    assert play(mongodb.probe(), ScriptedServer(HELLO + info, b"", inside_tls=b"")).tls is True


def test_mongodb_that_keeps_its_version_is_known_by_its_wire_version() -> None:
    assert play(mongodb.probe(), ScriptedServer(HELLO)) == Server("MongoDB", "7.0", tls=False)


def test_mongodb_that_wants_tls_is_asked_inside() -> None:
    info = message(2, bson.encode({"version": "8.0.4", "ok": 1}))

    assert play(mongodb.probe(), ScriptedServer(b"", inside_tls=HELLO + info)) == Server("MongoDB", "8.0.4", tls=True)


def bulk(text: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(text), text)


@pytest.mark.parametrize(
    ("answer", "server"),
    [
        (bulk(b"# Server\r\nredis_version:7.0.15\r\nos:Linux\r\n"), Server("Redis", "7.0.15", tls=False)),
        (bulk(b"redis_version:7.2.4\r\nvalkey_version:8.0.1\r\n"), Server("Valkey", "8.0.1", tls=False)),
        (b"-NOAUTH Authentication required.\r\n", Server("Redis", "", tls=False)),
        (b"-ERR operation not permitted\r\n", Server("Redis", "", tls=False)),
    ],
)
def test_redis(answer: bytes, server: Server) -> None:
    assert play(redis.probe(), ScriptedServer(answer)) == server


def test_redis_in_protected_mode_rejects() -> None:
    with pytest.raises(ClientRejected, match="protected mode"):
        play(redis.probe(), ScriptedServer(b"-DENIED Redis is running in protected mode\r\n"))


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad\r\n", b"$99999999\r\n", b"$5\r\nhello", b"-" + b"x" * 999])
def test_what_is_not_redis(said: bytes) -> None:
    with pytest.raises(ProtocolMismatch):
        play(redis.probe(), ScriptedServer(said))


@pytest.mark.parametrize("probe", PROBES)
@given(answers=st.lists(st.binary(max_size=200), min_size=1, max_size=3), silent=st.booleans())
def test_whatever_comes_a_probe_ends(probe: Callable[[], Probe], answers: Sequence[bytes], *, silent: bool) -> None:
    """With a server or an exception that is expected of it; it never reads more than MAX_READ."""
    with contextlib.suppress(ProtocolMismatch, ClientRejected, EOFError, TimeoutError, TlsRefused):
        play(probe(), ScriptedServer(*answers, inside_tls=answers[-1], silent=silent))


@given(
    st.dictionaries(
        st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1),
        st.integers(-(2**31), 2**31 - 1) | st.text(st.characters(codec="utf-8")),
    )
)
def test_bson_reads_what_it_writes(fields: dict[str, int | str]) -> None:
    assert bson.decode(bson.encode(fields)) == fields


@given(st.binary(max_size=300))
def test_bson_that_makes_no_sense_is_a_value_error(data: bytes) -> None:
    whole = struct.pack("<i", len(data) + 5) + data + b"\0"
    with contextlib.suppress(ValueError):
        bson.decode(whole)
