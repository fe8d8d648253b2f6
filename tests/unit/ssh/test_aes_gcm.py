"""AES-GCM packets, against the library's own one-shot arithmetic and the RFCs' numbers."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from ioconnect.ssh.aes_gcm import BLOCK, LENGTH, OVERHEAD, TAG, WRAP, Opener, Sealer, padding_for

KEY = bytes(range(16))
IV = b"abcd" + (7).to_bytes(8, "big")


def sealed(sealer: Sealer, body: bytes) -> bytes:
    out = bytearray(LENGTH + len(body) + TAG)
    sealer.seal(body, len(body).to_bytes(4, "big"), memoryview(out))
    return bytes(out)


def opened(opener: Opener, packet: bytes) -> bytes:
    view = memoryview(packet)
    out = bytearray(len(packet) - LENGTH - TAG)
    opener.open(view[LENGTH:], view[:LENGTH], memoryview(out))
    return bytes(out)


@given(st.integers(0, 300_000))
def test_padding(payload: int) -> None:
    """RFC 4253 section 6: 4 bytes at least, and the encrypted part (without the length) fills whole blocks."""
    padding = padding_for(payload)

    assert 4 <= padding <= 19
    assert (1 + payload + padding) % BLOCK == 0
    assert LENGTH + 1 + payload + padding + TAG <= payload + OVERHEAD


def test_a_packet_is_what_rfc_5647_says() -> None:
    """Length in the clear and authenticated, then ciphertext and tag; the nonce is the fixed part and the counter."""
    body = b"\x04\x5e" + bytes(26) + b"\0\0\0\0"
    packet = sealed(Sealer(AESGCM(KEY), IV), body)

    assert packet == len(body).to_bytes(4, "big") + AESGCM(KEY).encrypt(IV, body, len(body).to_bytes(4, "big"))


def test_the_counter_counts_and_wraps() -> None:
    """Each packet has its own nonce; after 2^64-1 comes 0, as in OpenSSH."""
    start = b"abcd" + WRAP.to_bytes(8, "big")
    sealer, opener = Sealer(AESGCM(KEY), start), Opener(AESGCM(KEY), start)
    bodies = [bytes([n]) * 32 for n in range(3)]
    packets = [sealed(sealer, body) for body in bodies]

    assert packets[1][LENGTH:] == AESGCM(KEY).encrypt(b"abcd" + bytes(8), bodies[1], packets[1][:LENGTH])
    assert [opened(opener, packet) for packet in packets] == bodies


def test_a_nonce_is_never_used_twice() -> None:
    sealer = Sealer(AESGCM(KEY), IV)

    assert len({sealed(sealer, bytes(32)) for _ in range(1000)}) == 1000


def test_packets_out_of_order_do_not_open() -> None:
    sealer, opener = Sealer(AESGCM(KEY), IV), Opener(AESGCM(KEY), IV)
    _, second = sealed(sealer, bytes(32)), sealed(sealer, bytes(32))

    with pytest.raises(InvalidTag):
        opened(opener, second)


@given(st.integers(0, LENGTH + 32 + TAG - 1), st.integers(1, 255))
def test_any_changed_byte_is_noticed(at: int, change: int) -> None:
    packet = bytearray(sealed(Sealer(AESGCM(KEY), IV), bytes(32)))
    packet[at] ^= change

    with pytest.raises(InvalidTag):
        opened(Opener(AESGCM(KEY), IV), bytes(packet))
