"""PostgreSQL: SSLRequest, then a StartupMessage with an unsupported version, whose error names the supported ones.

Pure. https://www.postgresql.org/docs/current/protocol-message-formats.html. The server version is sent only after
authentication; the supported protocol versions give its range: 2.0 was removed in PostgreSQL 14, 3.2 added in 18.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from ioconnect.checks.databases.protocol_probe import Action, ProtocolMismatch, Server, TlsRefused, expect

if TYPE_CHECKING:
    from ioconnect.checks.databases.protocol_probe import Probe, ProbeSteps

NAME = "PostgreSQL"
SSL_REQUEST = struct.pack(">II", 8, 80877103)
UNSUPPORTED_VERSION = struct.pack(">IIB", 9, 4 << 16, 0)
_LENGTH = 4  # bytes of the length field, which counts itself
_MAX_ERROR = 30_000  # bytes; libpq's limit for an error before authentication
_SUPPORTS = re.compile(r"server supports (\d)\.(\d) to (\d)\.(\d)")


def probe() -> Probe:
    """Request TLS, start it if it is supported, and request the version."""
    yield SSL_REQUEST
    answer = yield 1
    expect(answer in (b"S", b"N"), answer)
    try:
        if answer == b"S":
            yield Action.TLS
        yield UNSUPPORTED_VERSION
        version = _version((yield from _error_text()))
    except TlsRefused:
        raise ProtocolMismatch(answer) from None  # such as "SSH-2.0-…"
    except (EOFError, TimeoutError):
        version = ""  # such as a pooler; its reply to SSLRequest identifies it
    return Server(NAME, version, tls=answer == b"S")


def _error_text() -> ProbeSteps[str]:
    """Read an ErrorResponse and return its message (field M)."""
    kind = yield 1
    expect(kind == b"E", kind)
    head = yield _LENGTH
    (length,) = struct.unpack(">I", head)
    expect(_LENGTH < length <= _MAX_ERROR, head)
    body = yield length - _LENGTH
    return next((field[1:].decode("utf-8", "replace") for field in body.split(b"\0") if field[:1] == b"M"), "")


def _version(text: str) -> str:
    found = _SUPPORTS.search(text)
    if found is None:
        return ""
    earliest, latest = (int(found[1]), int(found[2])), (int(found[3]), int(found[4]))
    if earliest < (3, 0):
        return "13 or older"
    return "14 to 17" if latest < (3, 2) else "18 or newer"
