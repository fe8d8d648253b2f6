"""The check target: connects to the database and identifies it and its version, without credentials."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING

from ioconnect.checks import socket_check, tcp_check
from ioconnect.checks.databases.identify import BY_PORT, identify, reuse
from ioconnect.checks.databases.protocol_probe import ClientRejected
from ioconnect.checks.results import Finding
from ioconnect.config.addresses import SocketPath, is_loopback
from ioconnect.errors import TargetUnreachable
from ioconnect.escape import escaped, escaped_path
from ioconnect.tcp import connected_to_another

if TYPE_CHECKING:
    from ioconnect.agent.dial.resolve import Address
    from ioconnect.checks.databases.identify import Connect
    from ioconnect.checks.databases.protocol_probe import Server
    from ioconnect.config.addresses import HostPort, Target

TIMEOUT = 8.0  # seconds for the whole check
MAX_VERSION = 80  # characters shown
_NO_TLS_HINT = (
    "What this machine and the database say to each other is not encrypted, and a pipeline that asks for SSL fails. "
    "Turn TLS on in the database."
)
_EXPECTED_HINT = (
    "This port or socket is a database's by custom. Is target = right, and does the server answer its own client "
    "from here? A MySQL that looks up names and cannot is slow to greet (skip-name-resolve)."
)
_PLAIN = "takes connections, but is no database that this check knows"


_SHARED_HINT = (
    "While the database is down, another account may listen there and be sent the pipeline's password. Let it make "
    "its socket in a folder of its own, as in /run."
)


def check(target: Target) -> Finding:
    """Identify the server at the target. Blocks for at most `TIMEOUT` seconds. Raises TargetUnreachable."""
    found = _identified(target)
    folder = socket_check.shared_folder(target) if isinstance(target, SocketPath) and not found.warning else None
    if folder is None:
        return found
    detail = f"{found.detail}; any account may make a socket in {escaped_path(folder)}"
    return Finding(detail, hint=_SHARED_HINT, warning=True)


def _identified(target: Target) -> Finding:
    deadline = time.monotonic() + TIMEOUT
    sock, again, address = (
        _over_socket(target, deadline) if isinstance(target, SocketPath) else _over_tcp(target, deadline)
    )
    connect, unused = reuse(sock, again)
    with unused:
        try:
            server, banner = identify(connect, target.port, deadline)
        except ClientRejected as rejection:
            raise TargetUnreachable(
                f"{rejection.name} at {target} turns this machine away: {escaped(rejection.message)}",
                hint="Allow connections from this machine in the database (its host, user or protection settings).",
            ) from None
    where = str(target) if isinstance(target, SocketPath) or address == target.host else f"{target} ({address})"
    if server is not None:
        return _server_finding(server, where, is_here=address is None or is_loopback(address))
    detail = f"{where} {_PLAIN}{f', it says: {escaped(banner, limit=60)}' if banner else ''}"
    return Finding(detail, hint=_EXPECTED_HINT, warning=True) if target.port in BY_PORT else Finding(detail)


def _server_finding(server: Server, where: str, *, is_here: bool) -> Finding:
    """Return what the server is; without TLS a warning, unless no network is between it and this machine."""
    version = f" {escaped(server.version, limit=MAX_VERSION)}" if server.version else " (it hides its version)"
    detail = f"{server.name}{version} at {where}"
    if server.tls is False:
        detail += "; no TLS over its socket" if where.startswith("unix:") else "; it allows no TLS"
        return Finding(detail) if is_here else Finding(detail, hint=_NO_TLS_HINT, warning=True)
    return Finding(f"{detail}{', TLS possible' if server.tls else ''}")


def _over_tcp(target: HostPort, deadline: float) -> tuple[socket.socket, Connect, str]:
    """Return a connection, what makes another one, and the address that both go to."""
    sock, address = tcp_check.connect(target, deadline)
    return sock, lambda seconds: _connected(address, seconds), str(address)


def _over_socket(target: SocketPath, deadline: float) -> tuple[socket.socket, Connect, None]:
    """Return the same; a Unix socket has no address."""
    sock = socket_check.connect(target, deadline)
    return sock, lambda seconds: socket_check.connected(target, time.monotonic() + seconds), None


def _connected(address: Address, seconds: float) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    with contextlib.ExitStack() as undo:
        undo.callback(sock.close)
        sock.settimeout(seconds)
        sock.connect(address.sockaddr)
        undo.pop_all()
    return connected_to_another(sock)
