"""Redis and compatible servers (Valkey, KeyDB): INFO, or the error in reply to it.

Pure. https://redis.io/docs/latest/develop/reference/protocol-spec/. Redis has a separate port for TLS, so one that
replies unencrypted supports none on this port.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ioconnect.checks.databases.protocol_probe import Action, ClientRejected, Server, expect

if TYPE_CHECKING:
    from ioconnect.checks.databases.protocol_probe import Probe, ProbeSteps

NAME = "Redis"
INFO_REQUEST = b"INFO server\r\n"
_MAX_LINE = 512  # bytes
_MAX_INFO = 32_000  # bytes
_AUTH_REQUIRED = (b"-NOAUTH", b"-NOPERM", b"-ERR operation not permitted")  # the last one before Redis 6
_VERSION = re.compile(rb"^(redis|valkey)_version:([\w.-]{1,40})\r?$", re.MULTILINE)


def probe() -> Probe:
    """Send INFO unencrypted; if the server closes the connection, inside TLS."""
    try:
        name, version = yield from _ask()
    except EOFError:
        yield Action.RECONNECT
        yield Action.TLS
        name, version = yield from _ask()
        return Server(name, version, tls=True)
    return Server(name, version, tls=False)


def _ask() -> ProbeSteps[tuple[str, str]]:
    yield INFO_REQUEST
    line = b""
    while not line.endswith(b"\r\n"):
        expect(len(line) < _MAX_LINE and line[:1] in (b"", b"$", b"-"), line)
        line += yield 1
    if line.startswith(b"-DENIED"):
        raise ClientRejected(NAME, line[1:].decode("utf-8", "replace").strip())
    if line.startswith(_AUTH_REQUIRED):
        return NAME, ""
    expect(re.fullmatch(rb"\$\d{1,5}\r\n", line) and int(line[1:]) <= _MAX_INFO, line)
    info = yield int(line[1:])
    versions = {name.decode("ascii"): text.decode("ascii", "replace") for name, text in _VERSION.findall(info)}
    expect(versions, info)
    if "valkey" in versions:
        return "Valkey", versions["valkey"]
    return NAME, versions["redis"]
