"""What the kernel tells about links, addresses and routes, read as news: whether this machine's network changed.

Pure: datagrams in, verdict out. Kernels repeat themselves (a scan of the air, a router's advertisement), so only what
differs from what was said before counts. Linux speaks rtnetlink(7), macOS and the BSDs route(4).
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

MOST_FACTS = 4096  # remembered; beyond that (a router with many routes) the memory is begun anew


class Fact(NamedTuple):
    """One thing that the kernel said: what it is about, and how it is now (None: it is gone)."""

    subject: tuple[object, ...]
    condition: tuple[object, ...] | None


Reading: TypeAlias = Callable[[bytes], Iterator[Fact]]


class Picture:
    """The network as far as it was talked about."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._known: dict[tuple[object, ...], tuple[object, ...]] = {}

    def is_news(self, datagram: bytes) -> bool:
        """Take note of all that is in the datagram; say whether any of it is new."""
        news = False
        for subject, condition in self._reading(datagram):
            if condition is None:
                self._known.pop(subject, None)
                news = True
            elif self._known.get(subject) != condition:
                if len(self._known) >= MOST_FACTS:
                    self._known.clear()
                self._known[subject] = condition
                news = True
        return news


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
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_UNUSABLE = 0x08 | 0x20 | 0x40  # IFA_F_DADFAILED, IFA_F_DEPRECATED, IFA_F_TENTATIVE
_RTA_DESTINATION, _RTA_PRIORITY, _RTA_CACHE_INFO, _RTA_TABLE = 1, 6, 12, 15
_CLONED = 0x200  # RTM_F_CLONED: a cache entry
_LOCAL_TABLE = 255  # RT_TABLE_LOCAL: follows from the addresses


def linux_facts(datagram: bytes) -> Iterator[Fact]:
    """Read a datagram of an rtnetlink socket; stops at what is cut short."""
    at = 0
    while at + _MESSAGE.size <= len(datagram):
        size, kind, *_ = _MESSAGE.unpack_from(datagram, at)
        if size < _MESSAGE.size or at + size > len(datagram):
            return
        head, read = _LINUX.get(kind, (_MESSAGE, None))
        body = datagram[at + _MESSAGE.size : at + size]
        fact = read(body) if read is not None and len(body) >= head.size else None
        if fact is not None:
            yield fact if kind in _SETTING else fact._replace(condition=None)
        at += _aligned(size)


def _link(body: bytes) -> Fact | None:
    family, _, index, flags, _ = _LINK.unpack_from(body)
    if family or flags & _LOOPBACK:  # a family: about bridge ports
        return None
    return Fact(("link", index), (flags & _UP_AND_RUNNING,))


def _address(body: bytes) -> Fact | None:
    family, prefix, flags, _, index = _ADDRESS.unpack_from(body)
    attributes = _attributes(body[_ADDRESS.size :])
    if len(more := attributes.get(_IFA_FLAGS, b"")) == _U32.size:
        (flags,) = _U32.unpack(more)
    address = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
    return Fact(("address", family, index, address, prefix), (flags & _UNUSABLE,))


def _route(body: bytes) -> Fact | None:
    family, to_length, _, tos, table, _, _, _, flags = _ROUTE.unpack_from(body)
    if flags & _CLONED or table == _LOCAL_TABLE:
        return None
    attributes = _attributes(body[_ROUTE.size :])
    about = tuple(attributes.pop(number, b"") for number in (_RTA_DESTINATION, _RTA_PRIORITY, _RTA_TABLE))
    attributes.pop(_RTA_CACHE_INFO, None)
    return Fact(("route", family, to_length, tos, table, *about), (flags, *sorted(attributes.items())))


def _attributes(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at + _ATTRIBUTE.size <= len(data):
        size, number = _ATTRIBUTE.unpack_from(data, at)
        if size < _ATTRIBUTE.size or at + size > len(data):
            break
        found[number] = data[at + _ATTRIBUTE.size : at + size]
        at += _aligned(size)
    return found


def _aligned(size: int) -> int:
    return (size + 3) & ~3


_LINUX: dict[int, tuple[struct.Struct, Callable[[bytes], Fact | None]]] = {
    _NEW_LINK: (_LINK, _link),
    _DEL_LINK: (_LINK, _link),
    _NEW_ADDRESS: (_ADDRESS, _address),
    _DEL_ADDRESS: (_ADDRESS, _address),
    _NEW_ROUTE: (_ROUTE, _route),
    _DEL_ROUTE: (_ROUTE, _route),
}
_SETTING = {_NEW_LINK, _NEW_ADDRESS, _NEW_ROUTE}


# --- macOS and the BSDs: route(4), net/route.h, net/if.h

_RTM = struct.Struct("=HBB")  # length, version, type: how every message begins
_RT_FLAGS = struct.Struct("=HBBHxxi")  # rt_msghdr up to rtm_flags
_IF_FLAGS = struct.Struct("=HBBiiH")  # if_msghdr up to ifm_index
_RTM_ROUTES, _RTM_ADDRESSES, _RTM_IFINFO = {1, 2, 3}, {12, 13}, 14  # add, delete, change; new, gone
_PASSING = 0x4 | 0x400 | 0x20000  # RTF_HOST, RTF_LLINFO, RTF_WASCLONED: neighbours, and what is looked up


def bsd_facts(datagram: bytes) -> Iterator[Fact]:
    """Read a datagram of a PF_ROUTE socket: one message."""
    if len(datagram) < _IF_FLAGS.size:
        return
    size, _, kind = _RTM.unpack_from(datagram)
    if size > len(datagram):
        return
    if kind == _RTM_IFINFO:
        *_, flags, index = _IF_FLAGS.unpack_from(datagram)
        if not flags & _LOOPBACK:
            yield Fact(("link", index), (flags & _UP_AND_RUNNING,))
    elif kind in _RTM_ADDRESSES:
        yield Fact(("address",), None)
    elif kind in _RTM_ROUTES:
        *_, flags = _RT_FLAGS.unpack_from(datagram)
        if not flags & _PASSING:
            yield Fact(("route",), None)


def native_facts() -> Reading:
    """Return how this system's datagrams are read."""
    return linux_facts if sys.platform == "linux" else bsd_facts
