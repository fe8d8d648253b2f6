"""The order in which addresses are tried, and the fault that their failures add up to."""

from __future__ import annotations

import errno
import socket

import pytest

from ioconnect.agent.dial.connect_failures import (
    ConnectFailure,
    ForbiddenHere,
    NoAnswer,
    NoRoute,
    Refused,
    Role,
    unreachable,
)
from ioconnect.agent.dial.happy_eyeballs import SourcePort, interleaved
from ioconnect.agent.dial.resolve import Address
from ioconnect.config.addresses import HostPort
from ioconnect.errors import Unreachable

HOST = HostPort("tunnel.example.com", 50683)


def v4(last: int) -> Address:
    return Address(socket.AF_INET, (f"192.0.2.{last}", 50683))


def v6(last: int) -> Address:
    return Address(socket.AF_INET6, (f"2001:db8::{last}", 50683, 0, 0))


def test_families_take_turns_from_the_resolvers_first() -> None:
    assert interleaved([v6(1), v6(2), v6(3), v4(1), v4(2)]) == [v6(1), v4(1), v6(2), v4(2), v6(3)]
    assert interleaved([v4(1), v4(2), v6(1)]) == [v4(1), v6(1), v4(2)]


def test_an_address_is_tried_once() -> None:
    assert interleaved([v4(1), v4(1), v6(1), v4(1)]) == [v4(1), v6(1)]


def test_the_former_peer_comes_first_if_it_is_still_there() -> None:
    assert interleaved([v6(1), v4(1), v4(2)], peer="192.0.2.2") == [v4(2), v6(1), v4(1)]
    assert interleaved([v6(1), v4(1)], peer="192.0.2.9") == [v6(1), v4(1)]


@pytest.mark.parametrize(
    ("source", "address", "fits"),
    [
        (SourcePort("10.0.0.1", 1), v4(1), True),
        (SourcePort("10.0.0.1", 1), v6(1), False),
        (SourcePort("2001:db8::9", 1), v6(1), True),
        (SourcePort("10.0.0.1", 1, peer="192.0.2.1"), v4(1), True),
        (SourcePort("10.0.0.1", 1, peer="192.0.2.1"), v4(2), False),
        (SourcePort("no address", 1), v4(1), False),
    ],
)
def test_a_source_fits_its_family_and_its_peer(source: SourcePort, address: Address, fits: bool) -> None:  # noqa: FBT001
    assert source.fits(address) is fits


@pytest.mark.parametrize(
    ("errnos", "kind", "words"),
    [
        ([errno.ECONNREFUSED], Refused, "refused by a0"),
        ([errno.ETIMEDOUT], NoAnswer, "no answer from a0 within 12 s"),
        ([errno.ENETUNREACH], NoRoute, "no route to a0"),
        ([errno.EPERM], ForbiddenHere, "not permitted on this machine (a0)"),
        ([errno.ENETUNREACH, errno.ETIMEDOUT], NoAnswer, "no answer from a1 within 12 s; no route to a0"),
        ([errno.ETIMEDOUT, errno.ECONNREFUSED], Refused, "refused by a1; no answer from a0 within 12 s"),
        ([errno.ECONNREFUSED] * 6, Refused, "refused by a0, a1, a2, a3 and 2 more"),
        ([errno.EMFILE], Unreachable, "a0: too many files"),
        ([], Unreachable, "no answer"),
    ],
)
def test_the_message_names_every_kind_of_failure(errnos: list[int], kind: type[Unreachable], words: str) -> None:
    failures = [ConnectFailure(f"a{i}", code, "too many files") for i, code in enumerate(errnos)]
    fault = unreachable(HOST, failures, role=Role.JUMPHOST, seconds=12.3)

    assert type(fault) is kind
    assert fault.message == f"cannot connect to the jumphost {HOST}: {words}"


def test_each_kind_of_failure_has_its_own_hint() -> None:
    codes = [errno.ECONNREFUSED, errno.ETIMEDOUT, errno.ENETUNREACH, errno.EPERM, errno.EMFILE]
    hints = [unreachable(HOST, [ConnectFailure("a", code)], role=Role.JUMPHOST, seconds=1).hint for code in codes]

    assert len(set(hints)) == len(codes)
    assert "port 50683" in hints[0]
    assert "tunnel.example.com, port 50683" in hints[1]


def test_a_proxys_failure_names_the_proxy() -> None:
    fault = unreachable(HostPort("p", 3128), [ConnectFailure("a", errno.ECONNREFUSED)], role=Role.PROXY, seconds=1)

    assert "the proxy p:3128" in fault.message
    assert "ssh_port" not in fault.hint
