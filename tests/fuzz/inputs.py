"""Inputs for a target: its seeds with mutations, drawn by hypothesis, and its words repeated to 64 KiB."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fuzz.target import Target

LONG = 64 << 10  # bytes
ODD_NUMBERS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\1\0\0", b"\0\0\x80\0")
ODD_TEXTS = (
    b"\n",
    b"\r\n",
    b"\0",
    b" ",
    b"\t",
    b'"',
    b"'",
    b"\\",
    b"#",
    b"%",
    b"=",
    b"[",
    b"{",
    b"\xff",
    b"\xc2\xa0",
)
ODD_NAMES = (b"\xe2\x80\xa8", b"\xed\xb2\x80", b"\xf0\x9f\x92\xa9", b"-1", b"9" * 400, b"1e999", b"NaN", b"a" * 300)
ODD = (*ODD_NUMBERS, *ODD_TEXTS, *ODD_NAMES)


@st.composite
def mutated(draw: Any, target: Target, kept: tuple[bytes, ...] = ()) -> bytes:
    """Draw bytes from nothing, or a seed that a few mutations have been through."""
    if draw(st.integers(0, 19)) == 0:
        return bytes(draw(st.binary(max_size=200)))
    known = (*target.seeds, *kept)
    data = bytearray(draw(st.sampled_from(known)))
    pieces = (*target.words, *ODD) if target.words else ODD
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.sampled_from((0, 1, 2, 4, 16, 1 << 20))))
        match draw(st.sampled_from("irdcsbn")):
            case "i":
                data[at:at] = draw(st.sampled_from(pieces))
            case "r":
                data[at:end] = draw(st.sampled_from(pieces))
            case "d":
                del data[at:end]
            case "c":
                data[at:at] = data[at:end] * draw(st.integers(1, 8))
            case "s":
                data[at:] = draw(st.sampled_from(known))[at:]
            case "b" if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case _:
                data[at : at + 4] = struct.pack(">I", draw(st.integers(0, 0xFFFFFFFF)))
    return bytes(data[:LONG])


def stretched(target: Target) -> Iterator[bytes]:
    """Yield what a parser that is not linear would need long for.

    Everything known, over and over; many of one piece between a beginning that is taken and an end that is refused.
    """
    for piece in dict.fromkeys((*target.words, *target.seeds, *ODD_TEXTS, *ODD_NAMES, b"a", b"a ", b"a,", b"R")):
        if 0 < len(piece) < LONG:
            yield piece * (LONG // len(piece))
    for begin in dict.fromkeys((*target.seeds[:3], *target.words)):
        for piece in (b" ", b"\n", b"a", b"\\\n", b'"', b"("):
            for end in (b"", b";", target.seeds[0]):
                if len(begin) + len(end) < LONG // 2:
                    yield begin + piece * ((LONG - len(begin) - len(end)) // len(piece)) + end
