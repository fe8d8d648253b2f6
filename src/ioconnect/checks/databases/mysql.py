"""MySQL and MariaDB: the server speaks first; its handshake packet has version and capabilities.

Pure. https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_handshake_v10.html
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ioconnect.checks.databases.protocol_probe import ClientRejected, Server, expect

if TYPE_CHECKING:
    from ioconnect.checks.databases.protocol_probe import Probe

PROTOCOL_10 = 10
ERROR = 0xFF
CLIENT_SSL = 0x0800
_MIN_LENGTH, _MAX_LENGTH = 3, 4096  # bytes of a handshake packet
_MAX_VERSION = 128
_BEFORE_CAPABILITIES = 4 + 8 + 1  # thread id, first part of the challenge, filler
# MariaDB 10 prefixes its version with this, because old clients refuse all that do not begin with 5 (sql/mysqld.cc).
_REPLICATION_HACK = "5.5.5-"


def probe() -> Probe:
    """Read the handshake packet."""
    head = yield 4
    length = int.from_bytes(head[:3], "little")
    expect(head[3] == 0 and _MIN_LENGTH <= length <= _MAX_LENGTH, head)
    body = yield length
    if body[0] == ERROR:
        raise ClientRejected("MySQL or MariaDB", _error_text(body))
    version, end, rest = body[1:].partition(b"\0")
    sane = end and version.isascii() and len(version) <= _MAX_VERSION
    expect(body[0] == PROTOCOL_10 and sane and len(rest) >= _BEFORE_CAPABILITIES + 2, head + body)
    (capabilities,) = struct.unpack_from("<H", rest, _BEFORE_CAPABILITIES)
    text = version.decode("ascii")
    name = "MariaDB" if "mariadb" in text.lower() else "MySQL"
    return Server(name, text.removeprefix(_REPLICATION_HACK), tls=bool(capabilities & CLIENT_SSL))


def _error_text(body: bytes) -> str:
    """Return the message of an ERR packet, after the error code and the SQL state if there is one."""
    text = body[3:]
    if text[:1] == b"#":
        text = text[6:]
    return text.decode("utf-8", "replace")
