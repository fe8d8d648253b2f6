"""Messages of the connection protocol (RFC 4254): their numbers, reading them with every length checked, making them.

Pure.
"""

from __future__ import annotations

import struct
from typing import TypeAlias

from ioconnect.escape import escaped

MSG_DEBUG = 4  # RFC 4253 §11.3
MSG_GLOBAL_REQUEST, MSG_REQUEST_SUCCESS, MSG_REQUEST_FAILURE = 80, 81, 82
MSG_CHANNEL_OPEN, MSG_OPEN_CONFIRMATION, MSG_OPEN_FAILURE = 90, 91, 92
MSG_WINDOW_ADJUST, MSG_DATA, MSG_EXTENDED_DATA, MSG_EOF, MSG_CLOSE = 93, 94, 95, 96, 97
MSG_CHANNEL_REQUEST, MSG_CHANNEL_SUCCESS, MSG_CHANNEL_FAILURE = 98, 99, 100
PACKET_SIZE = 32 * 1024  # largest data we take in one message; OpenSSH's CHAN_TCP_PACKET_DEFAULT
# Why a channel is not opened, §5.1.
PROHIBITED, CONNECT_FAILED, UNKNOWN_TYPE, RESOURCE_SHORTAGE = 1, 2, 3, 4

_U32 = struct.Struct(">I")
_U32_SIZE = 4
_KIND_ID = struct.Struct(">BI")
_KIND_ID_NUMBER = struct.Struct(">BII")
_CONFIRMATION = struct.Struct(">BIIII")
Origin: TypeAlias = tuple[bytes, int]  # who connected to the forwarded port: address as the jumphost wrote it, port
U32_PAIR = struct.Struct(">II")
U32_PAIR_SIZE = 8


class ProtocolViolation(Exception):
    """The peer broke the SSH protocol; the session cannot go on."""


class Reader:
    """Takes SSH data types (RFC 4251 §5) off a message; each raises ProtocolViolation if the message is too short."""

    __slots__ = ("_at", "_body")

    def __init__(self, body: memoryview) -> None:
        self._body = body
        self._at = 0

    def u32(self) -> int:
        """Take a uint32."""
        at = self._at
        self._at = at + _U32_SIZE
        try:
            value: int = _U32.unpack_from(self._body, at)[0]
        except struct.error:
            raise ProtocolViolation("a message ends in the middle of a number") from None
        return value

    def string(self) -> bytes:
        """Take a string."""
        length = self.u32()
        if length > len(self._body) - self._at:
            raise ProtocolViolation(f"a string of {length} bytes in a shorter message")
        start, self._at = self._at, self._at + length
        return bytes(self._body[start : self._at])

    def boolean(self) -> bool:
        """Take a boolean."""
        if self._at >= len(self._body):
            raise ProtocolViolation("a message ends before its flag")
        self._at += 1
        return self._body[self._at - 1] != 0


def shown(origin: Origin) -> str:
    """Return who connected, in print."""
    return f"{escaped(origin[0], limit=60)} port {origin[1]}"


def string(data: bytes) -> bytes:
    """Return a string (RFC 4251 §5)."""
    return _U32.pack(len(data)) + data


def global_request(name: str, *arguments: str | int, want_reply: bool) -> bytes:
    """Return a GLOBAL_REQUEST (§4); numbers become uint32, texts strings."""
    message = bytes((MSG_GLOBAL_REQUEST,)) + string(name.encode()) + bytes((want_reply,))
    for argument in arguments:
        message += _U32.pack(argument) if isinstance(argument, int) else string(argument.encode())
    return message


def channel_open(own_id: int, window: int, packet: int, bound: tuple[str, int], origin: Origin) -> bytes:
    """Return a CHANNEL_OPEN of a forwarded-tcpip channel (§7.2); `bound` is what the client asked us to listen on."""
    return (
        bytes((MSG_CHANNEL_OPEN,))
        + string(b"forwarded-tcpip")
        + _U32.pack(own_id)
        + U32_PAIR.pack(window, packet)
        + string(bound[0].encode())
        + _U32.pack(bound[1])
        + string(origin[0])
        + _U32.pack(origin[1])
    )


def request_success(allocated_port: int | None = None) -> bytes:
    """Return a REQUEST_SUCCESS (§4), with the port if the request was to listen on port 0 (§7.1)."""
    return bytes((MSG_REQUEST_SUCCESS,)) + (b"" if allocated_port is None else _U32.pack(allocated_port))


def debug(text: str) -> bytes:
    """Return a DEBUG message that is not always to be displayed (RFC 4253 §11.3)."""
    return bytes((MSG_DEBUG, 0)) + string(text.encode()) + string(b"")


def confirmation(peer_id: int, own_id: int, window: int, packet: int) -> bytes:
    """Return a CHANNEL_OPEN_CONFIRMATION (§5.1)."""
    return _CONFIRMATION.pack(MSG_OPEN_CONFIRMATION, peer_id, own_id, window, packet)


def open_failure(peer_id: int, code: int, text: str) -> bytes:
    """Return a CHANNEL_OPEN_FAILURE (§5.1) without a language."""
    return _KIND_ID_NUMBER.pack(MSG_OPEN_FAILURE, peer_id, code) + string(text.encode()) + string(b"")


def window_adjust(peer_id: int, count: int) -> bytes:
    """Return a CHANNEL_WINDOW_ADJUST (§5.2)."""
    return _KIND_ID_NUMBER.pack(MSG_WINDOW_ADJUST, peer_id, count)


def about_channel(kind: int, peer_id: int) -> bytes:
    """Return a message that names a channel and says no more: EOF, CLOSE (§5.3), CHANNEL_FAILURE (§5.4)."""
    return _KIND_ID.pack(kind, peer_id)
