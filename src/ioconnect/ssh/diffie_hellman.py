"""paramiko's Diffie-Hellman key exchanges, with a bound on what they cost.

Raising to a power holds Python's lock, for a time that grows with the bits of the exponent. So it has 512 bits, as
OpenSSH's has at least (dh.c, dh_gen_key); RFC 3526 §8 asks for 480 at most in group 16. A group that the server
chooses (RFC 4419) has 2048 to 4096 bits: RFC 8270 forbids fewer, of which paramiko takes 1024; more cost seconds.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from paramiko.kex_gex import KexGexSHA256
from paramiko.kex_group14 import KexGroup14SHA256
from paramiko.kex_group16 import KexGroup16SHA512

from ioconnect.ssh.checked_message import CheckedMessage
from ioconnect.ssh.messages import ProtocolViolation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paramiko.message import Message

EXPONENT_BITS = 512


def _exponent() -> int:
    return secrets.randbits(EXPONENT_BITS - 1) | 1 << EXPONENT_BITS - 1


class Group14(KexGroup14SHA256):  # type: ignore[misc]  # paramiko is untyped
    """diffie-hellman-group14-sha256 (RFC 8268)."""

    def _generate_x(self) -> None:
        self.x = _exponent()


class Group16(KexGroup16SHA512):  # type: ignore[misc]  # paramiko is untyped
    """diffie-hellman-group16-sha512 (RFC 8268)."""

    def _generate_x(self) -> None:
        self.x = _exponent()


class GroupExchange(KexGexSHA256):  # type: ignore[misc]  # paramiko is untyped
    """diffie-hellman-group-exchange-sha256 (RFC 4419). Raises ProtocolViolation for a group out of bounds."""

    min_bits = 2048
    preferred_bits = 3072  # 128 bits of strength (RFC 3526 §8), as OpenSSH's dh_estimate
    max_bits = 4096

    def _generate_x(self) -> None:
        self.x = _exponent()

    def _parse_kexdh_gex_group(self, m: Message) -> None:
        numbers = CheckedMessage(m.get_remainder())
        prime, generator = numbers.get_mpint(), numbers.get_mpint()
        bits = prime.bit_length()
        if not self.min_bits <= bits <= self.max_bits:
            raise ProtocolViolation(f"a group of {bits} bits, not of {self.min_bits} to {self.max_bits}")
        if prime % 2 == 0 or not 1 < generator < prime - 1:
            raise ProtocolViolation("a group that is none")
        super()._parse_kexdh_gex_group(m)


KEX_CLASSES: Mapping[str, Any] = {each.name: each for each in (Group14, Group16, GroupExchange)}
