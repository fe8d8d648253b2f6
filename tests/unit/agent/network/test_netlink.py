"""The kernel's events about the network: which of them change anything."""

from __future__ import annotations

import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from ioconnect.agent.network.netlink import MAX_ENTRIES, NetworkState, parse_pf_route, parse_rtnetlink

NEW_LINK, DEL_LINK, NEW_ADDRESS, DEL_ADDRESS, NEW_ROUTE, DEL_ROUTE = 16, 17, 20, 21, 24, 25
UP, RUNNING, LOWER_UP, LOOPBACK = 0x1, 0x40, 0x10000, 0x8
TENTATIVE, CLONED = 0x40, 0x200


def message(kind: int, body: bytes) -> bytes:
    padding = bytes(-len(body) % 4)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body + padding


def attribute(number: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), number) + value + bytes(-len(value) % 4)


def link(kind: int = NEW_LINK, *, index: int = 2, flags: int = UP | RUNNING | LOWER_UP, family: int = 0) -> bytes:
    return message(kind, struct.pack("=BxHiII", family, 1, index, flags, 0))


def address(kind: int = NEW_ADDRESS, *, host: str = "192.0.2.7", flags: int = 0, lifetime: int = 0) -> bytes:
    head = struct.pack("=BBBBI", socket.AF_INET, 24, 0, 0, 2)
    attributes = attribute(2, socket.inet_aton(host)) + attribute(8, struct.pack("=I", flags))
    return message(kind, head + attributes + attribute(6, struct.pack("=IIII", lifetime, lifetime, 0, 0)))


def route(kind: int = NEW_ROUTE, *, gateway: str = "192.0.2.1", flags: int = 0, table: int = 254) -> bytes:
    head = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, table, 3, 0, 1, flags)
    return message(kind, head + attribute(5, socket.inet_aton(gateway)) + attribute(4, struct.pack("=I", 2)))


def changes(*datagrams: bytes) -> list[bool]:
    network = NetworkState(parse_rtnetlink)
    return [bool(network.update(datagram)) for datagram in datagrams]


def test_a_repeated_event_is_no_change() -> None:
    """A Wi-Fi scan, a router advertisement that renews a lifetime."""
    assert changes(link(), link(), link()) == [True, False, False]
    assert changes(address(lifetime=600), address(lifetime=599)) == [True, False]
    assert changes(route(), route()) == [True, False]


def test_a_link_that_loses_its_carrier_and_gets_it_back_is_a_change_twice() -> None:
    assert changes(link(), link(flags=UP), link()) == [True, True, True]


def test_an_address_is_a_change_when_it_can_be_used_and_when_it_is_gone() -> None:
    assert changes(address(flags=TENTATIVE), address(), address(DEL_ADDRESS), address()) == [True, True, True, True]


def test_a_default_route_that_changes_and_changes_back_is_a_change_each_time() -> None:
    assert changes(route(), route(gateway="192.0.2.9"), route()) == [True, True, True]


def test_a_removal_is_a_change_also_if_it_was_not_known() -> None:
    assert changes(route(DEL_ROUTE), link(DEL_LINK)) == [True, True]


def test_loopback_cloned_and_local_routes_and_neighbours_are_no_change() -> None:
    assert (
        changes(
            link(flags=UP | RUNNING | LOOPBACK),
            link(family=socket.AF_INET6),  # about a bridge's port, or IPv6's own settings
            route(flags=CLONED),
            route(table=255),
            message(28, bytes(12)),  # RTM_NEWNEIGH
        )
        == [False] * 5
    )


def test_several_messages_of_one_datagram_are_all_read() -> None:
    network = NetworkState(parse_rtnetlink)
    assert network.update(link() + address() + route())
    assert [bool(network.update(each)) for each in (link(), address(), route())] == [False, False, False]


def test_the_state_is_bounded() -> None:
    network = NetworkState(parse_rtnetlink)
    for index in range(MAX_ENTRIES + 10):
        assert network.update(link(index=index + 1))
    assert not network.update(link(index=MAX_ENTRIES + 10))
    assert network.update(link(index=1))


@given(st.binary(max_size=200), st.binary(max_size=60))
def test_any_datagram_can_be_parsed(noise: bytes, body: bytes) -> None:
    for parser in (parse_rtnetlink, parse_pf_route):
        NetworkState(parser).update(noise)
    for kind in (NEW_LINK, NEW_ADDRESS, DEL_ADDRESS, NEW_ROUTE, DEL_ROUTE):
        NetworkState(parse_rtnetlink).update(message(kind, body))


def test_the_events_of_macos() -> None:
    """route(4): RTM_IFINFO by its flags, addresses and routes as such, neighbours are ignored."""
    ifinfo = struct.pack("=HBBiiHxx", 16, 5, 14, 0, UP | RUNNING, 4)
    down = struct.pack("=HBBiiHxx", 16, 5, 14, 0, UP, 4)
    new_address = struct.pack("=HBBiiHxx", 16, 5, 12, 0, 0, 4)
    default = struct.pack("=HBBHxxi", 16, 5, 1, 4, 0x3) + bytes(4)
    neighbour = struct.pack("=HBBHxxi", 16, 5, 1, 4, 0x405) + bytes(4)
    network = NetworkState(parse_pf_route)

    assert [bool(network.update(each)) for each in (ifinfo, ifinfo, down)] == [True, False, True]
    assert [bool(network.update(each)) for each in (new_address, default, neighbour)] == [True, True, False]
