"""What leaves: in order, within the rules of a key exchange, and never more than the socket and the limit allow."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, cast

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rigs.database import BLOCK
from tests.rigs.memory_socket import MemorySocket

from ioconnect.ssh.aes_gcm import LENGTH, TAG, Opener, Sealer
from ioconnect.ssh.messages import PACKET_SIZE, ProtocolViolation
from ioconnect.ssh.outbound import FRAMES, LIMIT, Outbound

if TYPE_CHECKING:
    import socket

KEY, IV = bytes(16), bytes(12)
DATA, DISCONNECT = 94, 1


def new_outbound(memory: MemorySocket, *, tuned: bool = True) -> Outbound:
    """Return an Outbound; on the generic path its packets are `<payload>` in angle brackets."""
    made: Outbound
    made = Outbound(cast("socket.socket", memory), lambda payload: made.append(b"<" + payload + b">"))
    if tuned:
        made.key(Sealer(AESGCM(KEY), IV))
    return made


def payloads(wire: bytes | bytearray) -> list[bytes]:
    """Open everything on the wire; there must be nothing but whole packets."""
    opener, found, at = Opener(AESGCM(KEY), IV), [], 0
    view = memoryview(bytes(wire))
    while at < len(wire):
        (size,) = struct.unpack_from(">I", view, at)
        out = bytearray(size)
        opener.open(view[at + LENGTH : at + LENGTH + size + TAG], view[at : at + LENGTH], memoryview(out))
        padding = out[0]
        assert padding >= 4
        assert out[-padding:] == bytes(padding), "padding must not be what another connection left behind"
        found.append(bytes(out[1:-padding]))
        at += LENGTH + size + TAG
    assert at == len(wire)
    return found


def give(outbound: Outbound, data: bytes, limit: int, packet: int, *, bulk: bool) -> int:
    """Put into the slots what a target's socket would, and send it; return how much that was."""
    count = 0
    for slot in outbound.slots(limit, packet, bulk=bulk):
        part = data[count : count + len(slot)]
        slot[: len(part)] = part
        count += len(part)
    outbound.send_data(5, count, packet)
    return count


@pytest.mark.parametrize("tuned", [True, False])
@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(1, 400_000), st.integers(1, 400_000), st.integers(1, 2**32 - 1), st.booleans()),
        max_size=8,
    )
)
def test_data_within_window_and_packet_size(tuned: bool, batches: list[tuple[int, int, int, bool]]) -> None:  # noqa: FBT001
    """Whatever is read, window and packet size: no message above them, and all bytes in order."""
    memory = MemorySocket()
    outbound = new_outbound(memory, tuned=tuned)
    sent = b""
    sizes = []
    for available, window, packet, bulk in batches:
        packet = max(packet, 1 + available // 50)  # noqa: PLW2901  a few thousand tiny messages would only be slow
        count = give(outbound, BLOCK[len(sent) % 1000 :][:available], window, packet, bulk=bulk)
        assert 0 < count <= min(window, available)
        sent += BLOCK[len(sent) % 1000 :][:count]
        sizes.append((count, min(packet, PACKET_SIZE)))
    outbound.flush()
    if not tuned:
        assert memory.taken.count(b"<^\0\0\0\5") >= len(batches)
        return
    messages = payloads(memory.taken)
    for count, packet in sizes:
        while count:
            kind, channel, length = struct.unpack_from(">BII", messages[0])
            assert (kind, channel) == (DATA, 5)
            assert length == len(messages[0]) - 9 <= packet
            count -= length  # noqa: PLW2901  what is left of it
            assert sent.startswith(messages[0][9:])
            sent = sent[length:]
            del messages[0]
    assert not messages
    assert not sent


def test_messages_and_data_keep_their_order() -> None:
    memory = MemorySocket()
    outbound = new_outbound(memory)
    outbound.queue(b"\x5dfirst")
    give(outbound, b"second", 100, 100, bulk=False)
    outbound.queue(b"\x61third")
    outbound.flush()

    assert payloads(memory.taken) == [b"\x5dfirst", b"\x5e\0\0\0\5\0\0\0\6second", b"\x61third"]
    assert outbound.seqno == 3
    assert outbound.bytes == len(memory.taken)


def test_the_padding_is_no_other_connections_data() -> None:
    """The frames are used again: what a longer message left behind must not follow a shorter one."""
    memory = MemorySocket()
    outbound = new_outbound(memory)
    give(outbound, BLOCK, FRAMES * PACKET_SIZE, PACKET_SIZE, bulk=True)
    for count in range(1, 40):
        give(outbound, b"x" * count, 100, PACKET_SIZE, bulk=False)

    assert len(payloads(memory.taken)) == FRAMES + 39


def test_a_socket_that_takes_little() -> None:
    """What is left is sent later, in order; `congested` says so meanwhile."""
    memory = MemorySocket()
    outbound = new_outbound(memory)
    memory.room = 10
    outbound.queue(b"\x5done")
    outbound.flush()
    assert outbound.congested
    outbound.queue(b"\x5dtwo")
    memory.room = 25
    outbound.flush()
    assert outbound.congested
    memory.room = 1 << 20
    outbound.flush()

    assert not outbound.congested
    assert payloads(memory.taken) == [b"\x5done", b"\x5dtwo"]


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 60_000), st.integers(0, 120_000)), max_size=40))
def test_any_congestion(steps: list[tuple[int, int]]) -> None:
    memory = MemorySocket()
    memory.room = 0
    outbound = new_outbound(memory)
    sent = []
    for size, room in steps:
        payload = b"\x5d" + BLOCK[:size]
        outbound.queue(payload)
        sent.append(payload)
        memory.room += room
        outbound.flush()
    memory.room = 1 << 40
    outbound.flush()

    assert payloads(memory.taken) == sent


def test_a_peer_that_makes_us_answer_and_does_not_read() -> None:
    """The answers that are kept have a limit, in the open as well as during a key exchange."""
    memory = MemorySocket()
    memory.room = 0

    def answer(outbound: Outbound) -> None:
        for _ in range(LIMIT // 1000 + 2):
            outbound.queue(b"\x52" + bytes(1000))

    with pytest.raises(ProtocolViolation, match="does not read"):
        answer(new_outbound(memory))
    quiet = new_outbound(memory)
    quiet.begin_key_exchange(0.0)
    with pytest.raises(ProtocolViolation, match="does not finish its key exchange"):
        answer(quiet)


def test_nothing_but_key_exchange_while_quiet() -> None:
    """RFC 4253 section 7.1: what is queued waits, in its order, until it may speak again."""
    memory = MemorySocket()
    outbound = new_outbound(memory)
    outbound.begin_key_exchange(0.0)
    outbound.send(b"\x14kexinit")
    outbound.queue(b"\x5dheld")
    outbound.queue(b"\x61back")
    outbound.send(b"\x15newkeys")
    outbound.flush()
    assert payloads(memory.taken) == [b"\x14kexinit", b"\x15newkeys"]

    outbound.end_key_exchange()
    outbound.queue(b"\x5dlater")
    outbound.flush()

    assert payloads(memory.taken)[2:] == [b"\x5dheld", b"\x61back", b"\x5dlater"]


def test_new_keys_begin_where_they_are_set() -> None:
    """What was sealed before them, and not sent yet, goes out under the old ones; bytes count anew."""
    memory = MemorySocket()
    memory.room = 0
    outbound = new_outbound(memory)
    outbound.send(b"\x15old")
    outbound.key(Sealer(AESGCM(b"k" * 16), IV))
    assert outbound.bytes == 0
    outbound.send(b"\x5dnew")
    memory.room = 1 << 20
    outbound.flush()
    half = len(memory.taken) // 2

    assert payloads(memory.taken[:half]) == [b"\x15old"]
    assert AESGCM(b"k" * 16).decrypt(IV, bytes(memory.taken[half + 4 :]), bytes(memory.taken[half : half + 4]))


@pytest.mark.parametrize("quiet", [False, True])
def test_a_goodbye(quiet: bool) -> None:  # noqa: FBT001
    """It leaves at once, also during a key exchange, and its text is cut to size."""
    memory = MemorySocket()
    outbound = new_outbound(memory)
    outbound.in_key_exchange = quiet
    outbound.disconnect(2, "x" * 1000)

    (payload,) = payloads(memory.taken)
    assert payload == bytes((DISCONNECT,)) + struct.pack(">II", 2, 200) + b"x" * 200 + bytes(4)


def test_a_goodbye_to_a_full_socket() -> None:
    """It waits as long as it is told to, no longer."""
    memory = MemorySocket()
    memory.room = 0
    outbound = new_outbound(memory)
    outbound.queue(b"\x5dbefore")
    outbound.disconnect(11, "bye", patience=1.5)

    assert memory.timeout == 1.5
    assert [payload[0] for payload in payloads(memory.taken)] == [0x5D, DISCONNECT]


def test_a_goodbye_to_nobody() -> None:
    memory = MemorySocket()
    memory.error = BrokenPipeError(32, "Broken pipe")
    outbound = new_outbound(memory)
    outbound.disconnect(11, "bye", patience=1.5)

    assert not outbound.congested
    assert memory.timeout is None


def test_a_broken_socket_is_not_congested() -> None:
    """Reading finds the reason; meanwhile nothing may wait for the socket to take more."""
    memory = MemorySocket()
    memory.error = ConnectionResetError(104, "reset")
    outbound = new_outbound(memory)
    for _ in range(10_000):
        outbound.queue(b"\x5d" + bytes(1000))
        outbound.flush()

    assert not outbound.congested
