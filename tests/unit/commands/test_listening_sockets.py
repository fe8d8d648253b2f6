"""What the kernel's tables say about databases that listen here."""

from __future__ import annotations

import ipaddress
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioconnect.commands.setup.listening_sockets import Database, databases, listeners
from ioconnect.config.addresses import HostPort

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
REST = "00000000:0000 0A 00000000:00000000 00:00000000 00000000   999        0 20518 1 0000000000000000 100 0 0 10 0"
ESTABLISHED = "   1: 0100007F:1538 0100007F:C350 01 00000000:00000000 00:00000000 00000000 0 0 9 1 0 20 4 30 10 -1"
little = pytest.mark.skipif(sys.byteorder == "big", reason="these rows are from a little-endian machine")


@little
@pytest.mark.parametrize(
    ("local", "address", "port"),
    [
        ("0100007F:1538", "127.0.0.1", 5432),
        ("00000000:0CEA", "0.0.0.0", 3306),
        ("050010AC:1538", "172.16.0.5", 5432),
        ("00000000000000000000000001000000:18EB", "::1", 6379),
        ("00000000000000000000000000000000:0CEA", "::", 3306),
        ("0000000000000000FFFF00000100007F:1538", "127.0.0.1", 5432),
        ("B80D0120000000000000000007000000:1538", "2001:db8::7", 5432),
    ],
)
def test_a_row_of_the_kernel(local: str, address: str, port: int) -> None:
    """As proc_net(5) prints them on x86."""
    rows = [HEAD, f"   0: {local} {REST}", ESTABLISHED]

    assert list(listeners(rows)) == [(ipaddress.ip_address(address), port)]


@given(st.lists(st.text(alphabet="0123456789ABCDEF: Axz\u0660", max_size=80)))
def test_a_row_that_is_none_is_passed_over(rows: list[str]) -> None:
    for address, port in listeners(rows):
        assert address.packed
        assert port >= 0


@pytest.mark.parametrize(
    ("listening", "host"),
    [
        (("127.0.0.1",), "localhost"),
        (("::1",), "localhost"),
        (("0.0.0.0",), "localhost"),
        (("172.16.0.5", "127.0.0.1"), "localhost"),
        (("2001:db8::7", "172.16.0.5"), "172.16.0.5"),
    ],
)
def test_a_database_is_offered_by_its_nearest_name(listening: tuple[str, ...], host: str) -> None:
    found = databases((ipaddress.ip_address(address), 5432) for address in listening)

    assert found == [Database("PostgreSQL", HostPort(host, 5432))]


def test_what_else_listens_is_no_database() -> None:
    """They come in one order, whatever the kernel's is."""
    here = ipaddress.ip_address("127.0.0.1")

    found = databases((here, port) for port in (22, 6379, 5433, 3306))

    assert [each.kind for each in found] == ["MySQL or MariaDB", "Redis"]
