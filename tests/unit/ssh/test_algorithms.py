"""What is offered in a key exchange: these lists and no others; and what is added for old jumphosts."""

from __future__ import annotations

import pytest

from ioconnect.config import crypto
from ioconnect.ssh import algorithms
from ioconnect.ssh.algorithms import Offer, host_key_algorithms, offer

DEFAULT = Offer(
    kex=("mlkem768x25519-sha256", "curve25519-sha256", "diffie-hellman-group16-sha512"),
    ciphers=("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes256-ctr", "aes192-ctr", "aes128-ctr"),
    macs=("hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com"),
)


def test_the_default_offer() -> None:
    """What an auditor reads: no group of 2048 bits, no encrypt-and-MAC, no NIST curve, no CBC, no SHA-1."""
    assert offer(()) == DEFAULT
    assert host_key_algorithms(()) == ("ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256")


@pytest.mark.parametrize("name", crypto.ALLOWED)
def test_what_is_allowed_is_offered_last(name: str) -> None:
    offered = offer([name])

    added = (set(offered.kex) | set(offered.macs)) - set(DEFAULT.kex) - set(DEFAULT.macs)
    assert added == {name}
    assert offered.kex[:3] == DEFAULT.kex
    assert offered.macs[:2] == DEFAULT.macs
    assert offered.ciphers == DEFAULT.ciphers


@pytest.mark.parametrize(
    ("pinned", "expected"),
    [
        (["ssh-rsa"], ("rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519")),
        (["ecdsa-sha2-nistp384"], ("ecdsa-sha2-nistp384", "ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256")),
        (["ssh-ed25519"], ("ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256")),
    ],
)
def test_pinned_types_come_first(pinned: list[str], expected: tuple[str, ...]) -> None:
    assert host_key_algorithms(pinned) == expected
    assert set(expected) <= set(algorithms.HOST_KEYS)
