"""Parses the listening TCP sockets in /proc/net/tcp and tcp6 (proc_net(5)), and finds the databases among them.

Pure.
"""

from __future__ import annotations

import ipaddress
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ioconnect.config.addresses import HostPort

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

DATABASES = {
    5432: "PostgreSQL",
    3306: "MySQL or MariaDB",
    1433: "SQL Server",
    1521: "Oracle",
    27017: "MongoDB",
    6379: "Redis",
}
_LISTEN = "0A"  # TCP_LISTEN in include/net/tcp_states.h


@dataclass(frozen=True, slots=True)
class Database:
    """A socket that listens on a port that databases use."""

    kind: str
    target: HostPort


def listeners(table: Iterable[str]) -> Iterator[tuple[Address, int]]:
    """Yield address and port of every listening socket in the table; lines that are no row are skipped."""
    for row in table:
        fields = row.split()
        if len(fields) > 3 and fields[3] == _LISTEN:  # noqa: PLR2004  sl, local, remote, state
            host, _, port = fields[1].partition(":")
            try:
                yield _address(host), int(port, 16)
            except ValueError:
                continue


def databases(listening: Iterable[tuple[Address, int]]) -> list[Database]:
    """Return the databases among them, in the order of `DATABASES`, each with the nearest address it listens on."""
    by_port: dict[int, list[Address]] = {}
    for address, port in listening:
        by_port.setdefault(port, []).append(address)
    return [
        Database(kind, HostPort(_nearest(by_port[port]), port)) for port, kind in DATABASES.items() if port in by_port
    ]


def _nearest(addresses: list[Address]) -> str:
    """Return `localhost` if one of them accepts connections to it, else the first address, IPv4 before IPv6."""
    if any(address.is_loopback or address.is_unspecified for address in addresses):
        return "localhost"
    return str(min(addresses, key=lambda address: (address.version, address.packed)))


def _address(digits: str) -> Address:
    """Parse an address as the kernel prints it: 32-bit words in this machine's byte order. Raises ValueError."""
    raw = bytes.fromhex(digits)
    if sys.byteorder == "little":
        raw = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    address = ipaddress.ip_address(raw)
    return getattr(address, "ipv4_mapped", None) or address
