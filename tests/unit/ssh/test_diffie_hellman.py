"""What a Diffie-Hellman key exchange may cost, and which groups a server may choose."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

import pytest
from paramiko.kex_group14 import KexGroup14SHA256
from paramiko.kex_group16 import KexGroup16SHA512
from paramiko.message import Message

from ioconnect.config import crypto
from ioconnect.ssh.algorithms import EVERYTHING
from ioconnect.ssh.diffie_hellman import EXPONENT_BITS, KEX_CLASSES, GroupExchange
from ioconnect.ssh.messages import ProtocolViolation
from ioconnect.ssh.transport import LoopTransport

SAFE_2048, SAFE_4096 = KexGroup14SHA256.P, KexGroup16SHA512.P
GROUP, REPLY = 31, 33


class Transport:
    """What a key exchange asks of its client's transport."""

    server_mode = False
    local_version = remote_version = "SSH-2.0-x"
    local_kex_init = remote_kex_init = b"\x14"

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.secret = 0
        self.hash = b""

    def _send_message(self, message: Message) -> None:
        self.sent.append(Message(message.asbytes()))

    def _expect_packet(self, *kinds: int) -> None: ...
    def _log(self, *said: object) -> None: ...
    def _verify_key(self, host_key: bytes, signature: bytes) -> None: ...
    def _activate_outbound(self) -> None: ...

    def _set_K_H(self, secret: int, digest: bytes) -> None:  # noqa: N802  paramiko's name
        self.secret, self.hash = secret, digest


def group(prime: int, generator: int) -> Message:
    message = Message()
    message.add_mpint(prime)
    message.add_mpint(generator)
    message.rewind()
    return message


def begun() -> tuple[Transport, Any]:
    transport = Transport()
    exchange = GroupExchange(transport)
    exchange.start_kex()
    return transport, exchange


def test_a_group_exchange_asks_for_what_it_takes() -> None:
    transport, _ = begun()

    (request,) = transport.sent
    assert request.get_byte() == b"\x22"
    assert [request.get_int() for _ in range(3)] == [2048, 3072, 4096]


@pytest.mark.parametrize(("prime", "bits"), [(SAFE_2048, 2048), (SAFE_4096, 4096)])
def test_a_group_within_the_bounds(prime: int, bits: int) -> None:
    """And both ends have the same secret."""
    transport, exchange = begun()
    exchange.parse_next(GROUP, group(prime, 2))
    init = transport.sent[1]
    assert init.get_byte() == b"\x20"
    ours = init.get_mpint()
    theirs = secrets.randbits(bits - 1)
    reply = Message()
    reply.add_string(b"key")
    reply.add_mpint(pow(2, theirs, prime))
    reply.add_string(b"signature")
    reply.rewind()
    exchange.parse_next(REPLY, reply)

    assert transport.secret == pow(ours, theirs, prime)
    assert len(transport.hash) == hashlib.sha256().digest_size


@pytest.mark.parametrize(
    ("prime", "generator", "said"),
    [
        ((1 << 1023) | 1, 2, "1024 bits"),
        ((1 << 2046) | 1, 2, "2047 bits"),
        ((1 << 4096) | 1, 2, "4097 bits"),
        ((1 << 8191) | 1, 2, "8192 bits"),
        (-SAFE_2048, 2, "none"),
        (0, 2, "0 bits"),
        (SAFE_2048 - 1, 2, "none"),
        (SAFE_2048, 0, "none"),
        (SAFE_2048, 1, "none"),
        (SAFE_2048, -2, "none"),
        (SAFE_2048, SAFE_2048 - 1, "none"),
        (SAFE_2048, SAFE_4096, "none"),
    ],
)
def test_a_group_out_of_bounds(prime: int, generator: int, said: str) -> None:
    """Before anything is computed in it: 8192 bits took two seconds, and 1024 were taken."""
    transport, exchange = begun()

    with pytest.raises(ProtocolViolation, match=said):
        exchange.parse_next(GROUP, group(prime, generator))

    assert len(transport.sent) == 1


@pytest.mark.parametrize("name", sorted(KEX_CLASSES))
def test_the_exponent_is_short_and_new_each_time(name: str) -> None:
    seen = set()
    for _ in range(20):
        exchange = KEX_CLASSES[name](Transport())
        exchange._generate_x()
        assert exchange.x.bit_length() == EXPONENT_BITS
        seen.add(exchange.x)

    assert len(seen) == 20


def test_every_diffie_hellman_that_is_offered_is_one_of_these() -> None:
    offered = {name for name in (*EVERYTHING.kex, *crypto.KEX) if name.startswith("diffie-hellman-")}

    assert offered == set(KEX_CLASSES)
    assert {name: LoopTransport._kex_info[name] for name in offered} == KEX_CLASSES
