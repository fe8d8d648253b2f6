"""Which database answers at an open port: what its number suggests first, then who speaks first, then the rest."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from ioconnect.checks.databases import mongodb, mysql, oracle, postgres, redis, sqlserver
from ioconnect.checks.databases.probe_io import converse
from ioconnect.checks.databases.protocol_probe import NoTls, NotThisServer, Server

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from ioconnect.checks.databases.protocol_probe import Dialogue

    Connect = Callable[[float], socket.socket]

BY_PORT: dict[int, Callable[[], Dialogue]] = {
    1433: sqlserver.dialogue,
    1521: oracle.dialogue,
    3306: mysql.dialogue,
    5432: postgres.dialogue,
    6379: redis.dialogue,
    27017: mongodb.dialogue,
}
# Those that wait to be spoken to. What one of them is asked never looks like a whole request to the next.
SILENT = (postgres.dialogue, sqlserver.dialogue, mongodb.dialogue, redis.dialogue, oracle.dialogue)
EXPECTED_PATIENCE = 4.0  # seconds for the one that the port suggests: a MySQL that looks us up in DNS takes its time
GUESS_PATIENCE = 1.2  # seconds for each other
FIRST_WORDS = 60  # bytes shown of what somebody else says


def identify(connect: Connect, port: int, deadline: float) -> tuple[Server | None, bytes]:
    """Return the database that answers, None if it is none that we know, and what an unknown one said first.

    `deadline` is a time.monotonic(). Raises TurnedAway if a database says that this machine gets nothing.
    """
    expected = BY_PORT.get(port)
    others = [dialogue for dialogue in (mysql.dialogue, *SILENT) if dialogue is not expected]
    for dialogue in (expected, *others) if expected else others:
        patience = EXPECTED_PATIENCE if dialogue is expected else GUESS_PATIENCE
        until = min(deadline, time.monotonic() + patience)
        if until <= time.monotonic():
            break
        try:
            return converse(connect, dialogue(), until), b""
        except NotThisServer:
            if dialogue is mysql.dialogue:  # it spoke before it was asked, which none of the silent ones does
                return None, _first_words(connect, deadline)
        except (EOFError, NoTls, OSError):  # TimeoutError is an OSError
            continue
    return None, b""


def _first_words(connect: Connect, deadline: float) -> bytes:
    """Return what a server that speaks first says, "" if it does not say it again."""
    seconds = min(GUESS_PATIENCE, deadline - time.monotonic())
    with contextlib.suppress(OSError), contextlib.closing(connect(max(0.01, seconds))) as line:
        line.settimeout(max(0.01, seconds))
        return line.recv(FIRST_WORDS)
    return b""


def reusing(sock: socket.socket, connect: Connect) -> tuple[Connect, contextlib.ExitStack]:
    """Return a `connect` that hands out `sock` first, and a stack that closes it if nobody took it."""
    left = contextlib.ExitStack()
    left.callback(sock.close)
    first = [sock]

    def take(seconds: float) -> socket.socket:
        return first.pop() if first else connect(seconds)

    return take, left
