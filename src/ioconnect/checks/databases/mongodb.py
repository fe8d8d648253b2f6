"""MongoDB: `hello`, then `buildInfo`, both of which anybody may ask; then whether it does TLS.

Pure. https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/ (OP_MSG). With tls.mode requireTLS a mongod
closes the connection at the first plain byte: then everything is asked inside TLS.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ioconnect.checks.databases import bson
from ioconnect.checks.databases.protocol_probe import Move, NoTls, NotThisServer, Server, want

if TYPE_CHECKING:
    from ioconnect.checks.databases.protocol_probe import Dialogue, Steps

OP_MSG = 2013
NAME = "MongoDB"
_HEADER = struct.Struct("<iiii")  # length, request, response to, opcode
_FLAGS_AND_KIND = struct.Struct("<IB")
_LONGEST = 60_000  # bytes; hello's answer names every member of a replica set
# https://github.com/mongodb/specifications: wire versions, for a server that keeps buildInfo to itself
_BY_WIRE_VERSION = {6: "3.6", 7: "4.0", 8: "4.2", 9: "4.4", 13: "5.0", 17: "6.0", 21: "7.0", 25: "8.0"}


def request(command: str, number: int) -> bytes:
    """Return OP_MSG with a command of no arguments."""
    document = bson.encode({command: 1, "$db": "admin"})
    length = _HEADER.size + _FLAGS_AND_KIND.size + len(document)
    return _HEADER.pack(length, number, 0, OP_MSG) + _FLAGS_AND_KIND.pack(0, 0) + document


def dialogue() -> Dialogue:
    """Ask plainly and see whether TLS would do; if plain words get no answer, ask inside TLS."""
    try:
        version = yield from _version()
    except EOFError:
        yield Move.AGAIN
        yield Move.TLS
        return Server(NAME, (yield from _version()), tls=True)
    return Server(NAME, version, tls=(yield from _takes_tls()))


def _takes_tls() -> Steps[bool]:
    try:
        yield Move.AGAIN
        yield Move.TLS
    except (NoTls, EOFError, TimeoutError):
        return False
    return True


def _version() -> Steps[str]:
    hello = yield from _ask("hello", 1)  # before 4.4.2 an error, but in MongoDB's words
    want("ok" in hello, b"")
    try:
        told = (yield from _ask("buildInfo", 2)).get("version")
    except (EOFError, TimeoutError, NotThisServer):
        told = None
    if isinstance(told, str) and told:
        return told
    wire = hello.get("maxWireVersion")
    return _BY_WIRE_VERSION.get(int(wire), "") if isinstance(wire, int) else ""


def _ask(command: str, number: int) -> Steps[dict[str, float | str | bool | None]]:
    yield request(command, number)
    head = yield _HEADER.size
    length, _, answered, opcode = _HEADER.unpack(head)
    least = _HEADER.size + _FLAGS_AND_KIND.size
    want(opcode == OP_MSG and answered == number and least < length <= _LONGEST, head)
    body = yield length - _HEADER.size
    try:
        return bson.decode(body[_FLAGS_AND_KIND.size :])
    except ValueError:
        raise NotThisServer(head + body) from None
