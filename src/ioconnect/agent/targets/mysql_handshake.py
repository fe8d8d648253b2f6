"""How to leave a MySQL or MariaDB server without being counted by it: finish the handshake, refused.

A client that hangs up before the handshake is over counts towards max_connect_errors, at which the server blocks this
machine, the pipeline included. One that is refused for its user does not count.

Pure. https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html
"""

from __future__ import annotations

import struct

USER = b"ioconnect_probe"  # does not exist; at most 16 bytes before MySQL 5.7.8
PROTOCOL_10 = 10
ERROR, OK, AUTH_SWITCH, AUTH_MORE = 0xFF, 0x00, 0xFE, 0x01
MAX_PACKET = 4096  # bytes; a greeting has about 100
MAX_ROUNDS = 4  # messages of the sign-in that are answered
QUIT = b"\x01\0\0\0\x01"  # COM_QUIT
# CLIENT_LONG_PASSWORD, CLIENT_PROTOCOL_41, CLIENT_SECURE_CONNECTION, CLIENT_PLUGIN_AUTH
_WANTED = 0x0000_0001 | 0x0000_0200 | 0x0000_8000 | 0x0008_0000
_PLUGIN_AUTH = 0x0008_0000
_UTF8 = 33
_BEFORE_CAPABILITIES = 4 + 8 + 1  # thread id, first part of the challenge, filler


class RefusedSignIn:
    """One handshake; `feed` takes what the server sent and returns what to send. `over`: close now.

    `is_mysql` is set by a valid greeting; anything else that the server says ends it at once.
    """

    def __init__(self) -> None:
        self.over = False
        self.is_mysql = False
        self._received = bytearray()
        self._rounds = 0

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the server (b"": it hung up); return bytes for it, perhaps none."""
        self._received += data
        self.over = self.over or not data
        reply = b""
        while not self.over and not reply and len(self._received) >= 4:  # noqa: PLR2004  a packet's header
            length, sequence = int.from_bytes(self._received[:3], "little"), self._received[3]
            if not 0 < length <= MAX_PACKET:
                self.over = True
            elif len(self._received) < 4 + length:
                break
            else:
                body = bytes(self._received[4 : 4 + length])
                del self._received[: 4 + length]
                reply = self._answer(body, sequence)
        return reply

    def _answer(self, body: bytes, sequence: int) -> bytes:
        if not self.is_mysql:
            capabilities = _capabilities(body) if sequence == 0 else None
            self.is_mysql = capabilities is not None
            self.over = capabilities is None  # not MySQL, or it refuses this machine already
            return b"" if capabilities is None else _packet(_response(capabilities), sequence + 1)
        self._rounds += 1
        if body[0] == OK:  # an anonymous user exists
            self.over = True
            return QUIT
        self.over = body[0] not in {AUTH_SWITCH, AUTH_MORE} or self._rounds > MAX_ROUNDS
        return b"" if self.over else _packet(b"", sequence + 1)  # no password


def _capabilities(greeting: bytes) -> int | None:
    """Return the server's capabilities; None if this is no greeting of protocol 10."""
    version, end, rest = greeting[1:].partition(b"\0")
    if greeting[0] != PROTOCOL_10 or not end or not version.isascii() or len(rest) < _BEFORE_CAPABILITIES + 2:
        return None
    low, high = rest[_BEFORE_CAPABILITIES:][:2], rest[_BEFORE_CAPABILITIES + 5 :][:2]
    return int.from_bytes(low, "little") | int.from_bytes(high, "little") << 16


def _response(capabilities: int) -> bytes:
    """Return HandshakeResponse41 of a user without a password."""
    shared = _WANTED & capabilities
    plugin = b"mysql_native_password\0" if shared & _PLUGIN_AUTH else b""
    return struct.pack("<IIB23x", shared, 1 << 24, _UTF8) + USER + b"\0" + b"\0" + plugin


def _packet(body: bytes, sequence: int) -> bytes:
    return len(body).to_bytes(3, "little") + bytes((sequence & 0xFF,)) + body
