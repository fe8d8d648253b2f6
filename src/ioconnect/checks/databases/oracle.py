"""Oracle: a TNS CONNECT that asks the listener for its version, and whatever it answers.

Pure. Oracle publishes no specification; the layout is as Wireshark knows it (packet-tns.c). A listener that tells
its version to nobody refuses, and names it in the refusal: VSNNUM, with 8, 4, 8, 4 and 8 bits for its five parts.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from ioconnect.checks.databases.protocol_probe import Server, want

if TYPE_CHECKING:
    from ioconnect.checks.databases.protocol_probe import Dialogue, Steps

CONNECT, ACCEPT, REFUSE, REDIRECT, RESEND = 1, 2, 4, 5, 11
QUESTION = b"(CONNECT_DATA=(COMMAND=version))"
NAME = "Oracle listener"
_HEADER = struct.Struct(">HHBBH")  # length, checksum, type, flags, checksum of the header
_QUESTION_AT = 58  # where clients of version 310 put it; tracing fields, which we leave zero, come before it
_VERSION, _COMPATIBLE, _SDU, _TDU, _CHARACTERISTICS, _ONE = 310, 300, 2048, 32767, 0x7F08, 1
_LONGEST = 32767  # bytes
_MOST_RESENDS = 2
_BANNER = re.compile(rb"TNSLSNR for .{0,80}?Version (\d{1,3}(?:\.\d{1,5}){1,4})")
_NUMBER = re.compile(rb"VSNNUM=(\d{1,10})\)")


def request() -> bytes:
    """Return the CONNECT packet."""
    fixed = struct.pack(
        ">10H",
        *(_VERSION, _COMPATIBLE, 0, _SDU, _TDU, _CHARACTERISTICS, 0, _ONE),
        *(len(QUESTION), _QUESTION_AT),
    )
    body = fixed.ljust(_QUESTION_AT - _HEADER.size, b"\0") + QUESTION
    return _HEADER.pack(_HEADER.size + len(body), 0, CONNECT, 0, 0) + body


def dialogue() -> Dialogue:
    """Ask; again if the listener wants it again; take the version from its banner or its refusal."""
    kind, body = RESEND, b""
    for _ in range(_MOST_RESENDS + 1):
        if kind == RESEND:
            yield request()
            kind, body = yield from _packet()
    want(kind in (ACCEPT, REFUSE, REDIRECT), body)
    if kind == ACCEPT:
        try:
            _, body = yield from _packet()
        except (EOFError, TimeoutError):
            body = b""  # only a listener accepts
    return Server(NAME, _version(body))


def _packet() -> Steps[tuple[int, bytes]]:
    head = yield _HEADER.size
    length, _, kind, _, _ = _HEADER.unpack(head)
    want(_HEADER.size <= length <= _LONGEST, head)
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
