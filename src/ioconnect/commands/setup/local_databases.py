"""Finds the databases that listen on this machine, without sending them anything."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.commands.setup.listening_sockets import DATABASES, databases, listeners
from ioconnect.tcp import connected_to_another

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ioconnect.commands.setup.listening_sockets import Address, Database

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
LOOPBACK = ("127.0.0.1", "::1")
CONNECT_TIMEOUT = 0.3  # seconds; on loopback only a firewall takes longer


def on_this_machine() -> list[Database]:
    """Return what listens on the ports of databases: from /proc or, without it, by connecting over loopback."""
    sockets: list[tuple[Address, int]] = []
    for table in TABLES:
        with contextlib.suppress(OSError), table.open() as rows:
            sockets += listeners(rows)
    return databases(sockets if TABLES[0].exists() else _accepting())


def _accepting() -> Iterator[tuple[Address, int]]:
    for host in LOOPBACK:
        for port in DATABASES:
            with (
                contextlib.suppress(OSError),
                connected_to_another(socket.create_connection((host, port), timeout=CONNECT_TIMEOUT)),
            ):
                yield ipaddress.ip_address(host), port
