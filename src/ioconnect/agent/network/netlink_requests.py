"""Questions to the kernel about a route and a link, and its answers: rtnetlink(7), linux/rtnetlink.h.

Pure.
"""

from __future__ import annotations

import ipaddress
import struct

from ioconnect.agent.network.netlink import attributes, is_hardware, messages

_HEADER = struct.Struct("=IHHII")  # nlmsghdr
_ROUTE = struct.Struct("=BBBBBBBBI")  # rtmsg
_LINK = struct.Struct("=BxHiII")  # ifinfomsg
_GET_LINK, _NEW_LINK, _NEW_ROUTE, _GET_ROUTE = 18, 16, 24, 26
_REQUEST = 0x1  # NLM_F_REQUEST
_INET, _INET6 = 2, 10  # AF_INET, AF_INET6 of Linux
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC = 1, 4, 5, 7
_UNICAST, _LOCAL = 1, 2  # RTN_UNICAST, RTN_LOCAL; the others are refusals
_U32 = struct.Struct("=I")
_UP_AND_RUNNING = 0x1 | 0x40 | 0x10000  # IFF_UP, IFF_RUNNING, IFF_LOWER_UP


def route_request(address: str) -> bytes:
    """Return the question for the route to an IP address. Raises ValueError if it is none."""
    packed = ipaddress.ip_address(address).packed
    family = _INET if len(packed) == 4 else _INET6  # noqa: PLR2004  bytes of an IPv4 address
    head = _ROUTE.pack(family, len(packed) * 8, 0, 0, 0, 0, 0, 0, 0)
    return _message(_GET_ROUTE, head + struct.pack("=HH", 4 + len(packed), _RTA_DST) + packed)


def route_in(answer: bytes) -> tuple[str, str, int] | None:
    """Return the source, the gateway ("": none) and the interface's index of the answer; None: there is no route."""
    for kind, body in messages(answer):
        if kind != _NEW_ROUTE or len(body) < _ROUTE.size or _ROUTE.unpack_from(body)[7] not in (_UNICAST, _LOCAL):
            return None
        found = attributes(body[_ROUTE.size :])
        interface = found.get(_RTA_OIF, b"")
        if len(interface) == _U32.size:
            return _text(found.get(_RTA_PREFSRC)), _text(found.get(_RTA_GATEWAY)), _U32.unpack(interface)[0]
    return None


def link_request(index: int) -> bytes:
    """Return the question for the state of a link."""
    return _message(_GET_LINK, _LINK.pack(0, 0, index, 0, 0))


def link_in(answer: bytes) -> tuple[bool, bool]:
    """Return whether the link is up with a carrier, and whether it is an interface of its own; False: it is gone."""
    for kind, body in messages(answer):
        if kind == _NEW_LINK and len(body) >= _LINK.size:
            flags = _LINK.unpack_from(body)[3]
            return flags & _UP_AND_RUNNING == _UP_AND_RUNNING, is_hardware(attributes(body[_LINK.size :]))
    return False, True


def _message(kind: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST, 1, 0) + body


def _text(packed: bytes | None) -> str:
    return str(ipaddress.ip_address(packed)) if packed and len(packed) in (4, 16) else ""
