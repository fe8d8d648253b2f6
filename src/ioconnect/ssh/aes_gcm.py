"""AES-GCM packet protection as OpenSSH and RFC 5647 §7 have it, straight between buffers.

A packet on the wire is `length (4, in the clear) ‖ ciphertext ‖ tag (16)`; the nonce is 4 fixed bytes and a counter.
Pure arithmetic over the caller's buffers: no copies, no allocation but the nonce.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

BLOCK: Final = 16
TAG: Final = 16
LENGTH: Final = 4
WRAP: Final = 0xFFFFFFFFFFFFFFFF  # of the invocation counter
# What a packet costs beside its payload: length, padding length, most padding, tag.
OVERHEAD: Final = LENGTH + 1 + 19 + TAG


def padding_for(payload: int) -> int:
    """Return how many bytes of padding (4 to 19) a payload of so many bytes takes; RFC 4253 §6, RFC 5647 §7.2."""
    return 19 - (payload + 4) % BLOCK


class Sealer:
    """Outbound packets under one key; the nonce is RFC 5647 §7.1's invocation counter."""

    __slots__ = ("_counter", "_encrypt", "_fixed")

    def __init__(self, engine: AESGCM, iv: bytes) -> None:
        self._encrypt = engine.encrypt_into
        self._fixed = iv[:4]
        self._counter = int.from_bytes(iv[4:12], "big")

    def seal(self, body: memoryview | bytes, length: memoryview | bytes, out: memoryview) -> None:
        """Write `length ‖ ciphertext ‖ tag` of `body` (padding length, payload, padding) to `out`, which it fills."""
        counter = self._counter
        self._counter = (counter + 1) & WRAP
        out[:LENGTH] = length
        self._encrypt(self._fixed + counter.to_bytes(8, "big"), body, length, out[LENGTH:])


class Opener:
    """Inbound packets under one key; the nonce is RFC 5647 §7.1's invocation counter."""

    __slots__ = ("_counter", "_decrypt", "_fixed")

    def __init__(self, engine: AESGCM, iv: bytes) -> None:
        self._decrypt = engine.decrypt_into
        self._fixed = iv[:4]
        self._counter = int.from_bytes(iv[4:12], "big")

    def open(self, sealed: memoryview, length: memoryview, out: memoryview) -> None:
        """Decrypt `ciphertext ‖ tag` into `out`; raises cryptography's InvalidTag for a forged or damaged one."""
        counter = self._counter
        self._counter = (counter + 1) & WRAP
        self._decrypt(self._fixed + counter.to_bytes(8, "big"), sealed, length, out)
