"""Databases as far as their documented handshakes: SQL Server, Oracle, MongoDB (no package here holds them), MySQL.

Each is a script for `tests.rigs.proxies.Scripted`, written from the documents, not from the code under test.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING

from tests.rigs.proxies import read_exactly, until_closed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rigs.proxies import Script


def mysql(version: str, *, tls: bool = True) -> Script:
    """MySQL or MariaDB: greets (protocol::HandshakeV10) and waits."""
    capabilities = 0xF7FF if not tls else 0xFFFF
    body = b"\x0a" + version.encode() + b"\0" + struct.pack("<I8sxH", 7, b"challeng", capabilities)
    body += b"\xff\x02\0\xff\xdf\x15" + bytes(10) + b"twelve bytes\0" + b"caching_sha2_password\0"
    return says(len(body).to_bytes(3, "little") + b"\0" + body)


def sql_server(version: tuple[int, int, int] = (15, 0, 4236), *, encryption: int = 0x00) -> Script:
    """SQL Server: answers PRELOGIN ([MS-TDS] 2.2.6.5), with further options in front of and behind the two."""

    def play(connection: socket.socket) -> None:
        kind, _, length = struct.unpack(">BBH4x", read_exactly(connection, 8))
        body = read_exactly(connection, length - 8)
        if kind != 0x12 or body[0] != 0x00:
            return
        data = struct.pack(">BBHH", *version, 0) + bytes([encryption]) + b"\0"
        options = struct.pack(">BHHBHHBHHB", 0, 16, 6, 1, 22, 1, 2, 23, 1, 0xFF)
        whole = options + data
        connection.sendall(struct.pack(">BBHHBB", 0x04, 0x01, 8 + len(whole), 0, 1, 0) + whole)
        until_closed(connection)

    return play


def _tns(kind: int, body: bytes) -> bytes:
    return struct.pack(">HHBBH", 8 + len(body), 0, kind, 0, 0) + body


def _tns_request(connection: socket.socket) -> bytes:
    length, _, kind, _, _ = struct.unpack(">HHBBH", read_exactly(connection, 8))
    if kind != 1 or length < 58:
        return b""
    body = read_exactly(connection, length - 8)
    question_length, question_at = struct.unpack_from(">HH", body, 16)
    return body[question_at - 8 :][:question_length]


def oracle(*, tells: bool = True, resends: int = 0) -> Script:
    """An Oracle listener: wants CONNECT again `resends` times, then tells its version, or hides it in a refusal."""

    def play(connection: socket.socket) -> None:
        for _ in range(resends):
            _tns_request(connection)
            connection.sendall(_tns(11, b""))
        asked = _tns_request(connection)
        if b"COMMAND=version" not in asked:
            return
        if tells:
            banner = b"TNSLSNR for Linux: Version 12.1.0.2.0 - Production\n\tTNS for Linux: Version 12.1.0.2.0"
            connection.sendall(_tns(2, bytes(24)) + _tns(6, b"\0\0" + banner))
        else:
            text = b"(DESCRIPTION=(TMP=)(VSNNUM=318767104)(ERR=1189)(ERROR_STACK=(ERROR=(CODE=1189)(EMFI=4))))"
            connection.sendall(_tns(4, struct.pack(">BBH", 0x22, 0, len(text)) + text))
        until_closed(connection)

    return play


def _document(**fields: float | str | dict[str, float]) -> bytes:
    body = b""
    for name, value in fields.items():
        key = name.encode() + b"\0"
        if isinstance(value, str):
            body += b"\x02" + key + struct.pack("<i", len(value) + 1) + value.encode() + b"\0"
        elif isinstance(value, dict):
            body += b"\x03" + key + _document(**value)
        elif isinstance(value, int):
            body += b"\x10" + key + struct.pack("<i", value)
        else:
            body += b"\x01" + key + struct.pack("<d", value)
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def mongodb(version: str | None = "7.0.14", *, wire_version: int = 21) -> Script:
    """A mongod: answers hello and buildInfo by OP_MSG; `version` None keeps buildInfo to those who signed in."""

    def play(connection: socket.socket) -> None:
        while True:
            length, number, _, opcode = struct.unpack("<iiii", read_exactly(connection, 16))
            if opcode != 2013 or length > 48000:
                return
            body = read_exactly(connection, length - 16)
            if b"hello\0" in body:
                answer = _document(topologyVersion={"counter": 6.0}, maxWireVersion=wire_version, ok=1.0)
            elif version is not None:
                answer = _document(version=version, ok=1.0)
            else:
                answer = _document(ok=0.0, errmsg="command buildInfo requires authentication", code=13)
            message = struct.pack("<IB", 0, 0) + answer
            connection.sendall(struct.pack("<iiii", 16 + len(message), 900, number, 2013) + message)

    return play


def says(text: bytes) -> Script:
    """Somebody who speaks first and then listens."""

    def play(connection: socket.socket) -> None:
        connection.sendall(text)
        until_closed(connection)

    return play


def silence(connection: socket.socket) -> None:
    """Take what comes and say nothing."""
    until_closed(connection)


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """Give a port of 127.0.0.1 at which no SYN is answered, as behind a firewall that drops: its backlog is full."""
    with contextlib.ExitStack() as ends:
        full = ends.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(8):
            caller = ends.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(full.getsockname())
        yield full.getsockname()[1]
