"""The kernel's answers about routes and links: read, or refused."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioconnect.agent.network.netlink_requests import link_in, link_request, route_in, route_request

UP = 0x1 | 0x40 | 0x10000


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body


def attribute(number: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), number) + value + bytes(-len(value) % 4)


def route(*attributes: bytes, kind: int = 1) -> bytes:
    return message(24, struct.pack("=BBBBBBBBI", 2, 32, 0, 0, 254, 0, 0, kind, 0) + b"".join(attributes))


def link(flags: int, *attributes: bytes) -> bytes:
    return message(16, struct.pack("=BxHiII", 0, 1, 2, flags, 0) + b"".join(attributes))


INTERFACE = attribute(4, struct.pack("=I", 2))
SOURCE = attribute(7, socket.inet_aton("192.0.2.2"))


def test_a_route_has_a_source_an_interface_and_perhaps_a_gateway() -> None:
    gateway = attribute(5, socket.inet_aton("192.0.2.1"))
    assert route_in(route(INTERFACE, SOURCE)) == ("192.0.2.2", "", 2)
    assert route_in(route(INTERFACE, gateway, SOURCE)) == ("192.0.2.2", "192.0.2.1", 2)
    assert route_in(route(INTERFACE, attribute(7, bytes(15) + b"\1"))) == ("::1", "", 2)


def test_an_error_and_a_route_that_refuses_are_no_route() -> None:
    assert route_in(message(2, struct.pack("=i", -101) + bytes(16))) is None
    assert route_in(route(INTERFACE, SOURCE, kind=7)) is None
    assert route_in(b"") is None


def test_a_link_is_up_with_a_carrier_and_names_its_kind_if_software_made_it() -> None:
    veth, of_a_bond = (attribute(18, attribute(number, b"veth\0")) for number in (1, 4))
    assert link_in(link(UP)) == (True, True)
    assert link_in(link(UP, of_a_bond)) == (True, True)
    assert link_in(link(UP, veth)) == (True, False)
    assert link_in(link(0x1 | 0x40)) == (False, True)
    assert link_in(message(2, bytes(20))) == (False, True)


def test_a_question_names_the_whole_address() -> None:
    assert route_request("192.0.2.7")[16:18] == bytes([2, 32])
    assert route_request("2001:db8::7")[16:18] == bytes([10, 128])
    assert len(link_request(2)) == struct.unpack_from("=I", link_request(2))[0] == 32
    with pytest.raises(ValueError, match="jumphost"):
        route_request("jumphost.test")


@given(st.binary(max_size=200), st.integers(0, 30))
def test_any_answer_can_be_read(noise: bytes, kind: int) -> None:
    for answer in (noise, message(kind, noise)):
        route_in(answer)
        link_in(answer)
