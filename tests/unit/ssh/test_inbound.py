"""Bytes off the wire → packets, however they are cut; and whatever is wrong with them is a clean violation."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, cast

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rigs.memory_socket import MemorySocket

from ioconnect.ssh.aes_gcm import LENGTH, TAG, Opener, Sealer, padding_for
from ioconnect.ssh.inbound import CAPACITY, LONGEST_LINE, MAX_PACKET, READ_SIZE, Inbound
from ioconnect.ssh.messages import ProtocolViolation

if TYPE_CHECKING:
    import socket

KEY, IV = bytes(16), bytes(12)


def inbound_from(memory: MemorySocket, *, tuned: bool = True) -> Inbound:
    made = Inbound(cast("socket.socket", memory))
    if tuned:
        made.key(Opener(AESGCM(KEY), IV))
    return made


def sealed(*bodies: bytes) -> bytes:
    """Return packets as they stand on the wire; each body is padding length, payload and padding."""
    sealer = Sealer(AESGCM(KEY), IV)
    wire = b""
    for body in bodies:
        out = bytearray(LENGTH + len(body) + TAG)
        sealer.seal(body, struct.pack(">I", len(body)), memoryview(out))
        wire += out
    return wire


def body(payload: bytes) -> bytes:
    padding = padding_for(len(payload))
    return bytes((padding,)) + payload + bytes(padding)


def all_packets(inbound: Inbound) -> list[bytes]:
    """Read until there is nothing more; each turn is a batch, as the wire does it."""
    found = []
    while True:
        try:
            if not inbound.fill():
                return found
        except EOFError:
            return found
        while (packet := inbound.next_packet()) is not None:
            found.append(bytes((packet[0],)) + bytes(packet[1]))


payloads = st.one_of(
    st.binary(min_size=1, max_size=100),
    st.integers(1, 40_000).map(lambda size: b"\x5e" + bytes(size)),
    st.just(b"\x5e" + bytes(MAX_PACKET - 30)),
)


@settings(max_examples=60)
@given(st.lists(payloads, max_size=12), st.sampled_from([1 << 20, 65_536, 1000, 37]))
def test_packets_come_out_as_they_went_in(sent: list[bytes], piece: int) -> None:
    """Whatever the pieces that the socket gives, and whatever is half there."""
    memory = MemorySocket(piece=piece)
    wire = sealed(*map(body, sent))
    memory.to_read += wire
    inbound = inbound_from(memory)

    assert all_packets(inbound) == sent
    assert inbound.seqno == len(sent)
    assert inbound.bytes == len(wire)
    assert not inbound.waiting()


def test_the_bodies_of_a_batch_stand_until_it_is_over() -> None:
    memory = MemorySocket()
    memory.to_read += sealed(*(body(b"\x5e" + bytes([n]) * 5000) for n in range(40)))
    inbound = inbound_from(memory)
    assert inbound.fill()
    batch = [inbound.next_packet() for _ in range(40)]

    assert [bytes(packet[1][:1]) for packet in batch if packet is not None] == [bytes([n]) for n in range(40)]


def test_one_turn_reads_no_more_than_its_share() -> None:
    """And never more than the buffer holds, with the longest packet almost complete in front of it."""
    memory = MemorySocket()
    longest = sealed(body(b"\x5e" + bytes(MAX_PACKET - 30)))
    memory.to_read += longest[:-1]
    inbound = inbound_from(memory)
    while inbound.fill() and memory.to_read:
        assert inbound.next_packet() is None
    memory.to_read += longest[-1:] + bytes(2 * CAPACITY)
    before = len(memory.to_read)
    assert inbound.fill()

    assert 0 < before - len(memory.to_read) <= READ_SIZE
    assert inbound.next_packet() is not None


@pytest.mark.parametrize("size", [0, 1, 8, 15, 17, 24, MAX_PACKET + 16, 2**31, 2**32 - 1, 2**32 - 16])
def test_an_absurd_length(size: int) -> None:
    """Nothing is waited for: the session ends with a reason as soon as four bytes are there."""
    memory = MemorySocket()
    memory.to_read += struct.pack(">I", size)
    inbound = inbound_from(memory)
    assert inbound.fill()

    with pytest.raises(ProtocolViolation, match=f"a packet of {size} bytes"):
        inbound.next_packet()


@pytest.mark.parametrize("padding", [0, 1, 3, 31, 32, 255])
def test_absurd_padding(padding: int) -> None:
    """Less than four, or so much that there is no message type."""
    memory = MemorySocket()
    memory.to_read += sealed(bytes((padding,)) + bytes(31))
    inbound = inbound_from(memory)
    assert inbound.fill()

    with pytest.raises(ProtocolViolation, match="padding"):
        inbound.next_packet()


def test_the_most_padding_that_leaves_a_type() -> None:
    memory = MemorySocket()
    memory.to_read += sealed(bytes((30, 97)) + bytes(30))
    inbound = inbound_from(memory)

    assert all_packets(inbound) == [b"\x61"]


@settings(max_examples=150)
@given(
    st.lists(payloads.filter(lambda payload: len(payload) < 1000), min_size=1, max_size=6),
    st.data(),
)
def test_damage(sent: list[bytes], data: st.DataObject) -> None:
    """A changed, lost or added byte: what came before it is right, then there is a violation, or a wait for more."""
    wire = bytearray(sealed(*map(body, sent)))
    at = data.draw(st.integers(0, len(wire) - 1))
    how = data.draw(st.sampled_from(["change", "cut", "insert", "drop"]))
    if how == "change":
        wire[at] ^= data.draw(st.integers(1, 255))
    elif how == "cut":
        del wire[at:]
    elif how == "drop":
        del wire[at : at + 1]
    else:
        wire[at:at] = data.draw(st.binary(min_size=1, max_size=40))
    memory = MemorySocket(piece=data.draw(st.sampled_from([1 << 20, 7])))
    memory.to_read += wire
    inbound = inbound_from(memory)
    found: list[bytes] = []
    try:
        while True:
            if not inbound.fill():
                break
            while (packet := inbound.next_packet()) is not None:
                found.append(bytes((packet[0],)) + bytes(packet[1]))
    except ProtocolViolation:
        pass

    assert found == sent[: len(found)]
    assert len(found) < len(sent) or how == "insert"


@settings(max_examples=150)
@given(st.binary(max_size=400))
def test_noise(noise: bytes) -> None:
    """Never another exception, and never a packet."""
    memory = MemorySocket()
    memory.to_read += noise
    inbound = inbound_from(memory)
    try:
        assert all_packets(inbound) == []
    except ProtocolViolation as violation:
        assert str(violation)  # noqa: PT017  either is right, and this one says why


def test_the_end_is_told() -> None:
    memory = MemorySocket()
    memory.ended = True

    with pytest.raises(EOFError):
        inbound_from(memory).fill()


# --- before there are keys


def test_lines() -> None:
    memory = MemorySocket(piece=3)
    memory.to_read += b"hello\r\nSSH-2.0-x\n" + b"rest"
    inbound = inbound_from(memory, tuned=False)
    lines = []
    while inbound.fill():
        while (line := inbound.take_line()) is not None:
            lines.append(line)

    assert lines == [b"hello", b"SSH-2.0-x"]
    assert inbound.take(4) == b"rest"
    assert not inbound.waiting()


def test_an_endless_line() -> None:
    memory = MemorySocket(piece=1000)
    memory.to_read += bytes(LONGEST_LINE + 1)
    inbound = inbound_from(memory, tuned=False)

    def wait_for_it() -> None:
        while inbound.fill():
            assert inbound.take_line() is None

    with pytest.raises(ProtocolViolation, match="endless line"):
        wait_for_it()


@pytest.mark.parametrize("count", [-1, -(2**31), MAX_PACKET + 1, 2**32])
def test_what_the_generic_path_may_not_ask_for(count: int) -> None:
    """paramiko computes it from a length that the peer sent."""
    with pytest.raises(ProtocolViolation, match=f"a packet of {count} bytes"):
        inbound_from(MemorySocket(), tuned=False).take(count)


def test_taking_waits_for_all_of_it() -> None:
    memory = MemorySocket(piece=4)
    memory.to_read += b"12345678"
    inbound = inbound_from(memory, tuned=False)
    assert inbound.fill()

    assert inbound.take(6) is None
    assert inbound.take(0) == b""
    assert inbound.fill()
    assert inbound.take(6) == b"123456"
    assert inbound.waiting()
