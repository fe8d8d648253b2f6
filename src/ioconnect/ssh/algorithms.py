"""The algorithms that are offered in a key exchange, in order of preference (RFC 4253 §7.1).

Left out by default, though paramiko has them: what is weaker than 128 bits (group 14), MACs over the plaintext
(encrypt-and-MAC), the NIST curves, a group of the jumphost's choice. A jumphost in FIPS mode shares group 16 and
AES-GCM with these lists, any OpenSSH since 7.4 (2016) curve25519-sha256. `[crypto] allow` adds some for older ones.
Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ioconnect.config import crypto
from ioconnect.ssh.messages import ProtocolViolation

if TYPE_CHECKING:
    from collections.abc import Sequence

AEAD_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
CIPHERS = (*AEAD_CIPHERS, "aes256-ctr", "aes192-ctr", "aes128-ctr")
MACS = ("hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com")
KEX = ("mlkem768x25519-sha256", "curve25519-sha256", "diffie-hellman-group16-sha512")
HOST_KEYS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


@dataclass(frozen=True, slots=True)
class Offer:
    """What one end offers; the client's order decides."""

    kex: tuple[str, ...] = KEX
    ciphers: tuple[str, ...] = CIPHERS
    macs: tuple[str, ...] = MACS


EVERYTHING = Offer(kex=(*KEX, *crypto.KEX), macs=(*MACS, *crypto.MACS))


class NoSharedAlgorithm(ProtocolViolation):
    """The peer offers no algorithm of some kind that we offer."""

    def __init__(self, kind: str, theirs: Sequence[str], ours: Sequence[str]) -> None:
        super().__init__(f"no {kind} in common: it offers {', '.join(theirs) or 'none'}; we offer {', '.join(ours)}")


def offer(allowed: Sequence[str]) -> Offer:
    """Return what a client offers, with the `allowed` algorithms last."""
    return Offer(
        kex=(*KEX, *filter(allowed.__contains__, crypto.KEX)),
        macs=(*MACS, *filter(allowed.__contains__, crypto.MACS)),
    )


def host_key_type(algorithm: str) -> str:
    """Return the type of the keys that a host key algorithm signs with (RFC 8332: RSA has several)."""
    return "ssh-rsa" if algorithm.startswith("rsa-") else algorithm


def host_key_algorithms(pinned_types: Sequence[str]) -> tuple[str, ...]:
    """Return those of pinned key types first, as ssh does: a key of a new type is no false alarm.

    ECDSA, whose signatures leak the key if their random numbers are weak, only if such a key is pinned.
    """

    def is_pinned(algorithm: str) -> bool:
        return host_key_type(algorithm) in pinned_types

    offered = (name for name in HOST_KEYS if is_pinned(name) or not name.startswith("ecdsa-"))
    return tuple(sorted(offered, key=lambda algorithm: not is_pinned(algorithm)))
