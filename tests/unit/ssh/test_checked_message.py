"""What paramiko reads of the peer's messages, keys and signatures: with every length checked, and in no time."""

from __future__ import annotations

import struct
import time
from typing import Any

import paramiko
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from paramiko.message import Message

from ioconnect.ssh.checked_message import KEY_CLASSES, MAX_MPINT, CheckedMessage
from ioconnect.ssh.messages import ProtocolViolation, string
from ioconnect.stub.host_key import HostKey

ANNOUNCES_MUCH = struct.pack(">I", (1 << 20) - 1) + b"\x7f\1"  # paramiko reads zeros up to 1 MiB
NUMBERS = st.integers(-(1 << 256), 1 << 2048)
READERS = ("get_mpint", "get_string", "get_binary", "get_text", "get_list")


@given(st.lists(NUMBERS | st.text(max_size=20) | st.booleans(), max_size=5), st.data())
def test_it_reads_what_paramiko_wrote_and_nothing_that_is_missing(
    fields: list[int | str | bool], data: st.DataObject
) -> None:
    written = Message()
    for field in fields:
        if isinstance(field, bool):
            written.add_boolean(field)
        elif isinstance(field, int):
            written.add_mpint(field)
        else:
            written.add_string(field)
    whole = written.asbytes()

    def read(body: bytes) -> list[object]:
        message = CheckedMessage(body)
        takes = {bool: message.get_boolean, int: message.get_mpint, str: message.get_text}
        return [takes[type(field)]() for field in fields]

    assert read(whole) == fields
    if whole:
        with pytest.raises(ProtocolViolation, match="bytes early"):
            read(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(st.binary(max_size=40))
def test_a_number_is_what_paramiko_takes_it_for(digits: bytes) -> None:
    """Also one that is not written the shortest way."""
    assert CheckedMessage(string(digits)).get_mpint() == Message(string(digits)).get_mpint()


@pytest.mark.parametrize("reader", READERS)
def test_a_few_bytes_that_announce_many_cost_no_time(reader: str) -> None:
    """A number took more than 8 seconds."""
    begin = time.thread_time()

    with pytest.raises(ProtocolViolation, match="a message that ends 1048573 bytes early"):
        getattr(CheckedMessage(ANNOUNCES_MUCH), reader)()

    assert time.thread_time() - begin < 0.1


def test_a_number_has_16384_bits_at_most() -> None:
    """As in OpenSSH; one of 250 KB took seconds."""
    assert CheckedMessage(string(b"\0" + b"\xff" * 2048)).get_mpint() == (1 << 16384) - 1
    begin = time.thread_time()
    for size in (MAX_MPINT + 1, 250_000):
        with pytest.raises(ProtocolViolation, match=f"a number of {size} bytes"):
            CheckedMessage(string(b"\x7f" * size)).get_mpint()

    assert time.thread_time() - begin < 0.1


def test_a_text_that_is_none() -> None:
    with pytest.raises(ProtocolViolation, match="not UTF-8"):
        CheckedMessage(string(b"\xff" * 100)).get_text()


SIGNERS: dict[str, Any] = {
    "ssh-ed25519": HostKey.generate().signer,
    "rsa-sha2-512": paramiko.RSAKey(key=rsa.generate_private_key(public_exponent=65537, key_size=2048)),
    **{f"ecdsa-sha2-nistp{bits}": paramiko.ECDSAKey.generate(bits=bits) for bits in (256, 384, 521)},
}


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_keys_and_their_signatures(algorithm: str) -> None:
    """A good one is taken; one that is cut anywhere is refused at once."""
    signer = SIGNERS[algorithm]
    blob, signature = signer.asbytes(), signer.sign_ssh_data(b"data", algorithm).asbytes()
    key = KEY_CLASSES[algorithm](Message(blob))

    assert key.asbytes() == blob
    assert key.verify_ssh_sig(b"data", Message(signature))
    assert not key.verify_ssh_sig(b"other data", Message(signature))
    for end in range(0, len(blob), 7):
        with pytest.raises((ProtocolViolation, paramiko.SSHException)):
            KEY_CLASSES[algorithm](Message(blob[:end]))


def test_a_key_or_a_signature_with_a_number_that_announces_much_costs_no_time() -> None:
    """It took more than 8 seconds, before the sign-in, whatever the pins."""
    key = KEY_CLASSES["ecdsa-sha2-nistp256"](Message(SIGNERS["ecdsa-sha2-nistp256"].asbytes()))
    begin = time.thread_time()

    with pytest.raises(ProtocolViolation, match="bytes early"):
        KEY_CLASSES["rsa-sha2-512"](Message(string(b"ssh-rsa") + ANNOUNCES_MUCH))
    with pytest.raises(ProtocolViolation, match="bytes early"):
        key.verify_ssh_sig(b"data", Message(string(b"ecdsa-sha2-nistp256") + string(ANNOUNCES_MUCH)))

    assert time.thread_time() - begin < 0.1
