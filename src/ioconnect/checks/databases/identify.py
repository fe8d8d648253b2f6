"""Identifies the database at an open port: by the probe for that port first, then by all others."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from ioconnect.checks.databases import mongodb, mysql, oracle, postgres, redis, sqlserver
from ioconnect.checks.databases.probe_io import run_probe
from ioconnect.checks.databases.protocol_probe import ProtocolMismatch, Server, TlsRefused

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from ioconnect.checks.databases.protocol_probe import Probe

    Connect = Callable[[float], socket.socket]

BY_PORT: dict[int, Callable[[], Probe]] = {
    1433: sqlserver.probe,
    1521: oracle.probe,
    3306: mysql.probe,
    5432: postgres.probe,
    6379: redis.probe,
    27017: mongodb.probe,
}
# Protocols in which the client speaks first. No probe's request is a complete request in the protocol of another.
CLIENT_FIRST = (postgres.probe, sqlserver.probe, mongodb.probe, redis.probe, oracle.probe)
EXPECTED_TIMEOUT = 4.0  # seconds for the probe of the port: a MySQL that looks the client up in DNS is slow to greet
OTHER_TIMEOUT = 1.2  # seconds for each other probe
MAX_BANNER = 60  # bytes shown of an unknown server's greeting


def identify(connect: Connect, port: int, deadline: float) -> tuple[Server | None, bytes]:
    """Return the database that answers, None if it is unknown, and the greeting of an unknown server.

    `deadline` is a time.monotonic(). Raises ClientRejected if a database refuses connections from this machine.
    """
    expected = BY_PORT.get(port)
    others = [probe for probe in (mysql.probe, *CLIENT_FIRST) if probe is not expected]
    for probe in (expected, *others) if expected else others:
        timeout = EXPECTED_TIMEOUT if probe is expected else OTHER_TIMEOUT
        until = min(deadline, time.monotonic() + timeout)
        if until <= time.monotonic():
            break
        try:
            return run_probe(connect, probe(), until), b""
        except ProtocolMismatch:
            if probe is mysql.probe:  # the server spoke first, so it is none of CLIENT_FIRST
                return None, _banner(connect, deadline)
        except (EOFError, TlsRefused, OSError):  # TimeoutError is an OSError
            continue
    return None, b""


def _banner(connect: Connect, deadline: float) -> bytes:
    """Return the greeting of a server that speaks first, on a new connection; empty if it sends none."""
    seconds = min(OTHER_TIMEOUT, deadline - time.monotonic())
    with contextlib.suppress(OSError), contextlib.closing(connect(max(0.01, seconds))) as sock:
        sock.settimeout(max(0.01, seconds))
        return sock.recv(MAX_BANNER)
    return b""


def reuse(sock: socket.socket, connect: Connect) -> tuple[Connect, contextlib.ExitStack]:
    """Return a `connect` that returns `sock` first, and a stack that closes it."""
    unused = contextlib.ExitStack()
    unused.callback(sock.close)
    first = [sock]

    def take(seconds: float) -> socket.socket:
        return first.pop() if first else connect(seconds)

    return take, unused
