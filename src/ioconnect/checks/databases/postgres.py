"""PostgreSQL: SSLRequest, then a start-up in a protocol version that no server has, which makes it name its own.

Pure. https://www.postgresql.org/docs/current/protocol-message-formats.html. The exact version comes only after a
sign-in; what the server supports tells the range: protocol 2 went with PostgreSQL 14, protocol 3.2 came with 18.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from ioconnect.checks.databases.protocol_probe import Move, NoTls, NotThisServer, Server, want

if TYPE_CHECKING:
    from ioconnect.checks.databases.protocol_probe import Dialogue, Steps

NAME = "PostgreSQL"
SSL_REQUEST = struct.pack(">II", 8, 80877103)
IMPOSSIBLE_VERSION = struct.pack(">IIB", 9, 4 << 16, 0)
_LENGTH = 4  # bytes of the length, which counts itself
_LONGEST_ERROR = 30_000  # bytes; libpq's own bound for one from before the sign-in
_SUPPORTS = re.compile(r"server supports (\d)\.(\d) to (\d)\.(\d)")


def dialogue() -> Dialogue:
    """Ask for TLS, take it if it is there, and ask for the version."""
    yield SSL_REQUEST
    answer = yield 1
    want(answer in (b"S", b"N"), answer)
    try:
        if answer == b"S":
            yield Move.TLS
        yield IMPOSSIBLE_VERSION
        version = _version((yield from _error_text()))
    except NoTls:
        raise NotThisServer(answer) from None  # an "SSH-2.0-…", say
    except (EOFError, TimeoutError):
        version = ""  # a pooler, say; that it knew SSLRequest is enough
    return Server(NAME, version, tls=answer == b"S")


def _error_text() -> Steps[str]:
    """Read an ErrorResponse and return its message (field M)."""
    kind = yield 1
    want(kind == b"E", kind)
    head = yield _LENGTH
    (length,) = struct.unpack(">I", head)
    want(_LENGTH < length <= _LONGEST_ERROR, head)
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
