"""SQL Server: PRELOGIN, whose reply has version and encryption.

Pure. [MS-TDS] 2.2.6.5; the header is 2.2.3.1.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ioconnect.checks.databases.protocol_probe import Server, expect

if TYPE_CHECKING:
    from ioconnect.checks.databases.protocol_probe import Probe

PRELOGIN, RESPONSE = 0x12, 0x04
END_OF_MESSAGE = 0x01
VERSION, ENCRYPTION, TERMINATOR = 0x00, 0x01, 0xFF
ENCRYPT_OFF, ENCRYPT_NOT_SUPPORTED = 0x00, 0x02
_HEADER = 8
_MAX_LENGTH = 4096  # bytes, the largest packet before one is negotiated
_OPTION = struct.Struct(">BHH")  # token, offset, length
_VERSION_LENGTH = 6
# https://learn.microsoft.com/troubleshoot/sql/releases/download-and-install-latest-updates
_PRODUCTS = {8: "2000", 9: "2005", 10: "2008", 11: "2012", 12: "2014", 13: "2016", 14: "2017", 15: "2019"}
_PRODUCTS |= {16: "2022", 17: "2025"}


def request() -> bytes:
    """Return a PRELOGIN with ENCRYPT_OFF (only the login is encrypted); the reply states what the server supports."""
    data = struct.pack(">IHB", 0, 0, ENCRYPT_OFF)
    start = 2 * _OPTION.size + 1
    options = _OPTION.pack(VERSION, start, _VERSION_LENGTH) + _OPTION.pack(ENCRYPTION, start + _VERSION_LENGTH, 1)
    body = options + bytes((TERMINATOR,)) + data
    return struct.pack(">BBHHBB", PRELOGIN, END_OF_MESSAGE, _HEADER + len(body), 0, 1, 0) + body


def probe() -> Probe:
    """Exchange PRELOGIN."""
    yield request()
    head = yield _HEADER
    kind, _, length = struct.unpack(">BBH", head[:4])
    expect(kind == RESPONSE and _HEADER < length <= _MAX_LENGTH, head)
    options = _options((yield length - _HEADER))
    version = options.get(VERSION, b"")
    expect(len(version) >= _VERSION_LENGTH, head)
    major, minor, build = struct.unpack(">BBH", version[:4])
    encryption = options.get(ENCRYPTION, b"")
    product = _PRODUCTS.get(major, "")
    text = f"{product} ({major}.{minor}.{build})" if product else f"{major}.{minor}.{build}"
    return Server("SQL Server", text, tls=encryption[0] != ENCRYPT_NOT_SUPPORTED if encryption else None)


def _options(body: bytes) -> dict[int, bytes]:
    """Return the options by token. Raises ProtocolMismatch if one is outside the packet, or no terminator follows."""
    found: dict[int, bytes] = {}
    position = 0
    while True:
        expect(position < len(body), body)
        if body[position] == TERMINATOR:
            return found
        expect(position + _OPTION.size <= len(body), body)
        token, offset, length = _OPTION.unpack_from(body, position)
        expect(offset + length <= len(body), body)
        found[token] = body[offset : offset + length]
        position += _OPTION.size
