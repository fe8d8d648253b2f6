"""What the kernel says about the network: which of it is news."""

from __future__ import annotations

import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from ioconnect.agent.supervisor.netlink import MOST_FACTS, Picture, bsd_facts, linux_facts

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


def news(*datagrams: bytes) -> list[bool]:
    picture = Picture(linux_facts)
    return [picture.is_news(datagram) for datagram in datagrams]


def test_what_is_said_again_is_no_news() -> None:
    """A scan of the air, a router's advertisement that renews a lifetime."""
    assert news(link(), link(), link()) == [True, False, False]
    assert news(address(lifetime=600), address(lifetime=599)) == [True, False]
    assert news(route(), route()) == [True, False]


def test_a_link_that_loses_its_carrier_and_gets_it_back_is_news_twice() -> None:
    assert news(link(), link(flags=UP), link()) == [True, True, True]


def test_an_address_is_news_when_it_can_be_used_and_when_it_is_gone() -> None:
    assert news(address(flags=TENTATIVE), address(), address(DEL_ADDRESS), address()) == [True, True, True, True]


def test_a_default_route_that_changes_and_changes_back_is_news_each_time() -> None:
    assert news(route(), route(gateway="192.0.2.9"), route()) == [True, True, True]


def test_what_goes_is_news_also_if_it_was_never_mentioned() -> None:
    assert news(route(DEL_ROUTE), link(DEL_LINK)) == [True, True]


def test_what_concerns_no_way_out_is_no_news() -> None:
    assert (
        news(
            link(flags=UP | RUNNING | LOOPBACK),
            link(family=socket.AF_INET6),  # about a bridge's port, or IPv6's own settings
            route(flags=CLONED),
            route(table=255),
            message(28, bytes(12)),  # RTM_NEWNEIGH
        )
        == [False] * 5
    )


def test_several_messages_of_one_datagram_are_all_read() -> None:
    picture = Picture(linux_facts)
    assert picture.is_news(link() + address() + route())
    assert [picture.is_news(each) for each in (link(), address(), route())] == [False, False, False]


def test_the_memory_is_bounded() -> None:
    picture = Picture(linux_facts)
    for index in range(MOST_FACTS + 10):
        assert picture.is_news(link(index=index + 1))
    assert not picture.is_news(link(index=MOST_FACTS + 10))
    assert picture.is_news(link(index=1))


@given(st.binary(max_size=200), st.binary(max_size=60))
def test_no_datagram_makes_it_stumble(noise: bytes, body: bytes) -> None:
    for reading in (linux_facts, bsd_facts):
        Picture(reading).is_news(noise)
    for kind in (NEW_LINK, NEW_ADDRESS, DEL_ADDRESS, NEW_ROUTE, DEL_ROUTE):
        Picture(linux_facts).is_news(message(kind, body))


def test_macos_tells_in_its_own_words() -> None:
    """route(4): RTM_IFINFO by its flags, addresses and routes as such, neighbours not at all."""
    ifinfo = struct.pack("=HBBiiHxx", 16, 5, 14, 0, UP | RUNNING, 4)
    down = struct.pack("=HBBiiHxx", 16, 5, 14, 0, UP, 4)
    new_address = struct.pack("=HBBiiHxx", 16, 5, 12, 0, 0, 4)
    default = struct.pack("=HBBHxxi", 16, 5, 1, 4, 0x3) + bytes(4)
    neighbour = struct.pack("=HBBHxxi", 16, 5, 1, 4, 0x405) + bytes(4)
    picture = Picture(bsd_facts)

    assert [picture.is_news(each) for each in (ifinfo, ifinfo, down)] == [True, False, True]
    assert [picture.is_news(each) for each in (new_address, default, neighbour)] == [True, True, False]
