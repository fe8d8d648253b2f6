"""Oracle: a TNS CONNECT that requests the listener's version, and its reply.

Pure. Oracle publishes no specification; the layout is from Wireshark (packet-tns.c). A listener that refuses the
request has its version in the REFUSE packet: VSNNUM, with 8, 4, 8, 4 and 8 bits for its five parts.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from ioconnect.checks.databases.protocol_probe import Server, expect

if TYPE_CHECKING:
    from ioconnect.checks.databases.protocol_probe import Probe, ProbeSteps

CONNECT, ACCEPT, REFUSE, REDIRECT, RESEND = 1, 2, 4, 5, 11
REQUEST = b"(CONNECT_DATA=(COMMAND=version))"
NAME = "Oracle listener"
_HEADER = struct.Struct(">HHBBH")  # length, checksum, type, flags, checksum of the header
_REQUEST_AT = 58  # offset of the connect data as in clients of version 310; tracing fields, here zero, precede it
_VERSION, _COMPATIBLE, _SDU, _TDU, _CHARACTERISTICS, _ONE = 310, 300, 2048, 32767, 0x7F08, 1
_MAX_LENGTH = 32767  # bytes
_MAX_RESENDS = 2
_BANNER = re.compile(rb"TNSLSNR for .{0,80}?Version (\d{1,3}(?:\.\d{1,5}){1,4})")
_NUMBER = re.compile(rb"VSNNUM=(\d{1,10})\)")


def request() -> bytes:
    """Return the CONNECT packet."""
    fixed = struct.pack(
        ">10H",
        *(_VERSION, _COMPATIBLE, 0, _SDU, _TDU, _CHARACTERISTICS, 0, _ONE),
        *(len(REQUEST), _REQUEST_AT),
    )
    body = fixed.ljust(_REQUEST_AT - _HEADER.size, b"\0") + REQUEST
    return _HEADER.pack(_HEADER.size + len(body), 0, CONNECT, 0, 0) + body


def probe() -> Probe:
    """Send CONNECT, again after RESEND; parse the version in the banner or the REFUSE packet."""
    kind, body = RESEND, b""
    for _ in range(_MAX_RESENDS + 1):
        if kind == RESEND:
            yield request()
            kind, body = yield from _packet()
    expect(kind in (ACCEPT, REFUSE, REDIRECT), body)
    if kind == ACCEPT:
        try:
            _, body = yield from _packet()
        except (EOFError, TimeoutError):
            body = b""  # only a listener accepts
    return Server(NAME, _version(body))


def _packet() -> ProbeSteps[tuple[int, bytes]]:
    head = yield _HEADER.size
    length, _, kind, _, _ = _HEADER.unpack(head)
    expect(_HEADER.size <= length <= _MAX_LENGTH, head)
    return kind, (yield length - _HEADER.size)


def _version(body: bytes) -> str:
    banner = _BANNER.search(body)
    if banner is not None:
        return banner[1].decode("ascii")
    number = _NUMBER.search(body)
    if number is None:
        return ""
    packed = int(number[1])
    parts = (packed >> 24 & 0xFF, packed >> 20 & 0xF, packed >> 12 & 0xFF, packed >> 8 & 0xF, packed & 0xFF)
    return ".".join(map(str, parts))
