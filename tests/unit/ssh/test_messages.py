"""Messages of the connection protocol, read with every length checked, and written as RFC 4254 has them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paramiko.message import Message

from ioconnect.ssh import messages
from ioconnect.ssh.messages import ProtocolViolation, Reader

FIELDS = st.lists(st.one_of(st.integers(0, 2**32 - 1), st.binary(max_size=50), st.booleans()), max_size=8)


def written(fields: list[int | bytes | bool]) -> bytes:
    """Return the fields as an independent hand writes them."""
    message = Message()
    for field in fields:
        if isinstance(field, bool):
            message.add_boolean(field)
        elif isinstance(field, int):
            message.add_int(field)
        else:
            message.add_string(field)
    return bytes(message.asbytes())


def read(body: bytes, fields: list[int | bytes | bool]) -> list[int | bytes | bool]:
    """Read fields of these types."""
    reader = Reader(memoryview(body))
    return [
        reader.boolean() if isinstance(field, bool) else reader.u32() if isinstance(field, int) else reader.string()
        for field in fields
    ]


@given(FIELDS)
def test_what_was_written_is_read(fields: list[int | bytes | bool]) -> None:
    assert read(written(fields), fields) == fields


@given(FIELDS.filter(bool), st.data())
def test_a_message_that_ends_early(fields: list[int | bytes | bool], data: st.DataObject) -> None:
    """Wherever it is cut: a violation, and nothing is made up in place of what is missing."""
    whole = written(fields)
    cut = data.draw(st.integers(0, len(whole) - 1))

    with pytest.raises(ProtocolViolation):
        read(whole[:cut], fields)


@given(st.integers(1, 2**32 - 1), st.binary(max_size=30))
def test_a_string_that_announces_too_much(extra: int, content: bytes) -> None:
    length = min(len(content) + extra, 2**32 - 1)

    with pytest.raises(ProtocolViolation, match=f"a string of {length} bytes"):
        Reader(memoryview(struct.pack(">I", length) + content)).string()


def test_any_byte_but_zero_is_true() -> None:
    """RFC 4251 section 5."""
    assert [Reader(memoryview(bytes((byte,)))).boolean() for byte in (0, 1, 2, 255)] == [False, True, True, True]


def test_global_requests() -> None:
    """RFC 4254 sections 4 and 7.1."""
    assert messages.global_request("tcpip-forward", "localhost", 58115, want_reply=True) == (
        b"\x50\0\0\0\x0dtcpip-forward\1\0\0\0\x09localhost" + struct.pack(">I", 58115)
    )
    assert messages.global_request("x", want_reply=False) == b"\x50\0\0\0\1x\0"


def test_channel_messages() -> None:
    """RFC 4254 sections 5.1 to 5.4: the recipient's number first."""
    assert messages.confirmation(7, 1, 2, 3) == b"\x5b" + struct.pack(">IIII", 7, 1, 2, 3)
    assert messages.open_failure(7, 2, "no") == b"\x5c" + struct.pack(">II", 7, 2) + b"\0\0\0\2no\0\0\0\0"
    assert messages.window_adjust(7, 2**32 - 1) == b"\x5d\0\0\0\7\xff\xff\xff\xff"
    assert messages.about_channel(messages.MSG_EOF, 7) == b"\x60\0\0\0\7"
    assert messages.about_channel(messages.MSG_CLOSE, 2**32 - 1) == b"\x61\xff\xff\xff\xff"


def test_who_connected_is_printable() -> None:
    """The address is the jumphost's text: it may hold anything, and be of any length."""
    assert messages.shown((b"127.0.0.1", 5)) == "127.0.0.1 port 5"
    assert messages.shown((b"\x1b[2J\xff" + b"x" * 5000, 5)).isprintable()
    assert len(messages.shown((b"x" * 5000, 65535))) < 100
