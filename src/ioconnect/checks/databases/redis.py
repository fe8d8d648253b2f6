"""Redis, and what speaks like it (Valkey, KeyDB): INFO, or the words in which it is refused.

Pure. https://redis.io/docs/latest/develop/reference/protocol-spec/. Redis does TLS on a port of its own, so one that
answers plainly has none there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ioconnect.checks.databases.protocol_probe import Move, Server, TurnedAway, want

if TYPE_CHECKING:
    from ioconnect.checks.databases.protocol_probe import Dialogue, Steps

NAME = "Redis"
QUESTION = b"INFO server\r\n"
_LONGEST_LINE = 512  # bytes
_LONGEST_INFO = 32_000  # bytes
_NEEDS_SIGN_IN = (b"-NOAUTH", b"-NOPERM", b"-ERR operation not permitted")  # the last one before Redis 6
_VERSION = re.compile(rb"^(redis|valkey)_version:([\w.-]{1,40})\r?$", re.MULTILINE)


def dialogue() -> Dialogue:
    """Ask plainly; if that gets no answer, inside TLS."""
    try:
        name, version = yield from _ask()
    except EOFError:
        yield Move.AGAIN
        yield Move.TLS
        name, version = yield from _ask()
        return Server(name, version, tls=True)
    return Server(name, version, tls=False)


def _ask() -> Steps[tuple[str, str]]:
    yield QUESTION
    line = b""
    while not line.endswith(b"\r\n"):
        want(len(line) < _LONGEST_LINE and line[:1] in (b"", b"$", b"-"), line)
        line += yield 1
    if line.startswith(b"-DENIED"):
        raise TurnedAway(NAME, line[1:].decode("utf-8", "replace").strip())
    if line.startswith(_NEEDS_SIGN_IN):
        return NAME, ""
    want(re.fullmatch(rb"\$\d{1,5}\r\n", line) and int(line[1:]) <= _LONGEST_INFO, line)
    info = yield int(line[1:])
    versions = {which.decode("ascii"): told.decode("ascii", "replace") for which, told in _VERSION.findall(info)}
    want(versions, info)
    if "valkey" in versions:
        return "Valkey", versions["valkey"]
    return NAME, versions["redis"]
