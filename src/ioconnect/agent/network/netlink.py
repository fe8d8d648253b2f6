"""Parses the kernel's events about links, addresses and routes: rtnetlink(7) on Linux, route(4) on macOS and BSD.

Pure. Kernels repeat events that change nothing (a Wi-Fi scan, a router advertisement), so each is compared with the
state that the last one left.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

MAX_ENTRIES = 4096  # of NetworkState; beyond that (a router with many routes) it is cleared


class Interface(NamedTuple):
    """A network interface by its index; `is_hardware`: no bridge, no end of a container, no VPN."""

    number: int
    is_hardware: bool


class NetworkEvent(NamedTuple):
    """A link, address or route (`key`) and its new state; None if it was removed."""

    key: tuple[object, ...]
    state: tuple[object, ...] | None


Parser: TypeAlias = Callable[[bytes], Iterator[NetworkEvent]]


class NetworkState:
    """The last known state of each link, address and route."""

    def __init__(self, parser: Parser) -> None:
        self._parser = parser
        self._states: dict[tuple[object, ...], tuple[object, ...]] = {}

    def update(self, datagram: bytes) -> list[tuple[object, ...]]:
        """Apply the events of a datagram; return the keys of those that changed the state."""
        changed = []
        for key, state in self._parser(datagram):
            if state is None:
                self._states.pop(key, None)
                changed.append(key)
            elif self._states.get(key) != state:
                if len(self._states) >= MAX_ENTRIES:
                    self._states.clear()
                self._states[key] = state
                changed.append(key)
        return changed


# --- Linux: rtnetlink(7), linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h; everything in native byte order

_MESSAGE = struct.Struct("=IHHII")  # nlmsghdr
_LINK = struct.Struct("=BxHiII")  # ifinfomsg
_ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg
_ROUTE = struct.Struct("=BBBBBBBBI")  # rtmsg
_ATTRIBUTE = struct.Struct("=HH")  # rtattr
_U32 = struct.Struct("=I")

_NEW_LINK, _DEL_LINK, _NEW_ADDRESS, _DEL_ADDRESS, _NEW_ROUTE, _DEL_ROUTE = 16, 17, 20, 21, 24, 25
_LOOPBACK = 0x8
_UP_AND_RUNNING = 0x1 | 0x40 | 0x10000  # IFF_UP, IFF_RUNNING, IFF_LOWER_UP
_IFLA_LINKINFO, _IFLA_INFO_KIND = 18, 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_UNUSABLE = 0x08 | 0x20 | 0x40  # IFA_F_DADFAILED, IFA_F_DEPRECATED, IFA_F_TENTATIVE
_RTA_DESTINATION, _RTA_PRIORITY, _RTA_CACHE_INFO, _RTA_TABLE = 1, 6, 12, 15
_CLONED = 0x200  # RTM_F_CLONED: a cache entry
_TYPE = 0x3FFF  # NLA_TYPE_MASK
_LOCAL_TABLE = 255  # RT_TABLE_LOCAL: the kernel derives it from the addresses


def parse_rtnetlink(datagram: bytes) -> Iterator[NetworkEvent]:
    """Parse a datagram of an rtnetlink socket; stops at a truncated message."""
    for kind, body in messages(datagram):
        head, read = _RTNETLINK.get(kind, (_MESSAGE, None))
        event = read(body) if read is not None and len(body) >= head.size else None
        if event is not None:
            yield event if kind in _NEW_KINDS else event._replace(state=None)


def messages(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the kind and the body of each message; stops at a truncated one."""
    at = 0
    while at + _MESSAGE.size <= len(datagram):
        size, kind, *_ = _MESSAGE.unpack_from(datagram, at)
        if size < _MESSAGE.size or at + size > len(datagram):
            return
        yield kind, datagram[at + _MESSAGE.size : at + size]
        at += _align(size)


def _link(body: bytes) -> NetworkEvent | None:
    family, _, index, flags, _ = _LINK.unpack_from(body)
    if family or flags & _LOOPBACK:  # with a family: about bridge ports
        return None
    return NetworkEvent(Interface(index, is_hardware(attributes(body[_LINK.size :]))), (flags & _UP_AND_RUNNING,))


def is_hardware(link: dict[int, bytes]) -> bool:
    """Say whether a link with these attributes is an interface of its own: those made by software name their kind."""
    return _IFLA_INFO_KIND not in attributes(link.get(_IFLA_LINKINFO, b""))


def _address(body: bytes) -> NetworkEvent | None:
    family, prefix, flags, _, index = _ADDRESS.unpack_from(body)
    found = attributes(body[_ADDRESS.size :])
    if len(more := found.get(_IFA_FLAGS, b"")) == _U32.size:
        (flags,) = _U32.unpack(more)
    address = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
    return NetworkEvent(("address", family, index, address, prefix), (flags & _UNUSABLE,))


def _route(body: bytes) -> NetworkEvent | None:
    family, to_length, _, tos, table, _, _, _, flags = _ROUTE.unpack_from(body)
    if flags & _CLONED or table == _LOCAL_TABLE:
        return None
    found = attributes(body[_ROUTE.size :])
    rest = tuple(found.pop(number, b"") for number in (_RTA_DESTINATION, _RTA_PRIORITY, _RTA_TABLE))
    found.pop(_RTA_CACHE_INFO, None)
    return NetworkEvent(("route", family, to_length, tos, table, *rest), (flags, *sorted(found.items())))


def attributes(data: bytes) -> dict[int, bytes]:
    """Return the attributes by their numbers; stops at a truncated one."""
    found, at = {}, 0
    while at + _ATTRIBUTE.size <= len(data):
        size, number = _ATTRIBUTE.unpack_from(data, at)
        if size < _ATTRIBUTE.size or at + size > len(data):
            break
        found[number & _TYPE] = data[at + _ATTRIBUTE.size : at + size]
        at += _align(size)
    return found


def _align(size: int) -> int:
    return (size + 3) & ~3


_RTNETLINK: dict[int, tuple[struct.Struct, Callable[[bytes], NetworkEvent | None]]] = {
    _NEW_LINK: (_LINK, _link),
    _DEL_LINK: (_LINK, _link),
    _NEW_ADDRESS: (_ADDRESS, _address),
    _DEL_ADDRESS: (_ADDRESS, _address),
    _NEW_ROUTE: (_ROUTE, _route),
    _DEL_ROUTE: (_ROUTE, _route),
}
_NEW_KINDS = {_NEW_LINK, _NEW_ADDRESS, _NEW_ROUTE}


# --- macOS and the BSDs: route(4), net/route.h, net/if.h

_RTM = struct.Struct("=HBB")  # length, version, type: the start of every message
_RT_FLAGS = struct.Struct("=HBBHxxi")  # rt_msghdr up to rtm_flags
_IF_FLAGS = struct.Struct("=HBBiiH")  # if_msghdr up to ifm_index
_RTM_ROUTES, _RTM_ADDRESSES, _RTM_IFINFO = {1, 2, 3}, {12, 13}, 14  # RTM_ADD, DELETE, CHANGE; NEWADDR, DELADDR
_NEIGHBOURS = 0x4 | 0x400 | 0x20000  # RTF_HOST, RTF_LLINFO, RTF_WASCLONED: neighbours and cloned routes


def parse_pf_route(datagram: bytes) -> Iterator[NetworkEvent]:
    """Parse a datagram of a PF_ROUTE socket: one message."""
    if len(datagram) < _IF_FLAGS.size:
        return
    size, _, kind = _RTM.unpack_from(datagram)
    if size > len(datagram):
        return
    if kind == _RTM_IFINFO:
        *_, flags, index = _IF_FLAGS.unpack_from(datagram)
        if not flags & _LOOPBACK:
            yield NetworkEvent(Interface(index, is_hardware=True), (flags & _UP_AND_RUNNING,))
    elif kind in _RTM_ADDRESSES:
        yield NetworkEvent(("address",), None)
    elif kind in _RTM_ROUTES:
        *_, flags = _RT_FLAGS.unpack_from(datagram)
        if not flags & _NEIGHBOURS:
            yield NetworkEvent(("route",), None)


def native_parser() -> Parser:
    """Return the parser for this system's datagrams."""
    return parse_rtnetlink if sys.platform == "linux" else parse_pf_route
