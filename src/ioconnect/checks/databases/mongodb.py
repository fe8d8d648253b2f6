"""MongoDB: `hello` and `buildInfo`, which need no authentication, then a TLS handshake.

Pure. https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/ (OP_MSG). With tls.mode requireTLS a mongod
closes an unencrypted connection at the first byte: then both commands are sent inside TLS.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ioconnect.checks.databases import bson
from ioconnect.checks.databases.protocol_probe import Action, ProtocolMismatch, Server, TlsRefused, expect

if TYPE_CHECKING:
    from ioconnect.checks.databases.protocol_probe import Probe, ProbeSteps

OP_MSG = 2013
NAME = "MongoDB"
_HEADER = struct.Struct("<iiii")  # length, request, response to, opcode
_FLAGS_AND_KIND = struct.Struct("<IB")
_MAX_LENGTH = 60_000  # bytes; the reply to hello names every member of a replica set
# https://github.com/mongodb/specifications: wire versions, for a server that refuses buildInfo
_BY_WIRE_VERSION = {6: "3.6", 7: "4.0", 8: "4.2", 9: "4.4", 13: "5.0", 17: "6.0", 21: "7.0", 25: "8.0"}


def request(command: str, number: int) -> bytes:
    """Return an OP_MSG with a command without arguments."""
    document = bson.encode({command: 1, "$db": "admin"})
    length = _HEADER.size + _FLAGS_AND_KIND.size + len(document)
    return _HEADER.pack(length, number, 0, OP_MSG) + _FLAGS_AND_KIND.pack(0, 0) + document


def probe() -> Probe:
    """Send the commands unencrypted, then try TLS; if the server closes the connection, send them inside TLS."""
    try:
        version = yield from _version()
    except EOFError:
        yield Action.RECONNECT
        yield Action.TLS
        return Server(NAME, (yield from _version()), tls=True)
    return Server(NAME, version, tls=(yield from _supports_tls()))


def _supports_tls() -> ProbeSteps[bool]:
    try:
        yield Action.RECONNECT
        yield Action.TLS
    except (TlsRefused, EOFError, TimeoutError):
        return False
    return True


def _version() -> ProbeSteps[str]:
    hello = yield from _command("hello", 1)  # before 4.4.2 an error, but with "ok" in it
    expect("ok" in hello, b"")
    try:
        version = (yield from _command("buildInfo", 2)).get("version")
    except (EOFError, TimeoutError, ProtocolMismatch):
        version = None
    if isinstance(version, str) and version:
        return version
    wire = hello.get("maxWireVersion")
    return _BY_WIRE_VERSION.get(int(wire), "") if isinstance(wire, int) else ""


def _command(command: str, number: int) -> ProbeSteps[dict[str, float | str | bool | None]]:
    yield request(command, number)
    head = yield _HEADER.size
    length, _, answered, opcode = _HEADER.unpack(head)
    least = _HEADER.size + _FLAGS_AND_KIND.size
    expect(opcode == OP_MSG and answered == number and least < length <= _MAX_LENGTH, head)
    body = yield length - _HEADER.size
    try:
        return bson.decode(body[_FLAGS_AND_KIND.size :])
    except ValueError:
        raise ProtocolMismatch(head + body) from None
