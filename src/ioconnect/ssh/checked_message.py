"""paramiko's reading of what the peer sends, with every length checked.

paramiko's Message reads zeros where a message ends early: up to 1 MiB of them for a string that few bytes announce.
Its loops over such a text, or over the digits of such a number, take seconds and hold Python's lock.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from paramiko.ecdsakey import ECDSAKey
from paramiko.message import Message
from paramiko.transport import Transport

from ioconnect.ssh.messages import ProtocolViolation

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_MPINT = 16384 // 8 + 1  # bytes, as OpenSSH (sshbuf.h, SSHBUF_MAX_BIGNUM)


class CheckedMessage(Message):  # type: ignore[misc]  # paramiko is untyped
    """A message from the peer. Reading raises ProtocolViolation if it ends early or has what RFC 4251 §5 forbids."""

    def get_bytes(self, n: int) -> bytes:
        """Take `n` bytes; every other method takes what it reads by this one."""
        taken: bytes = self.packet.read(n)
        if len(taken) < n:
            raise ProtocolViolation(f"a message that ends {n - len(taken)} bytes early")
        return taken

    def get_text(self) -> str:
        """Take a string in UTF-8."""
        try:
            return str(super().get_text())
        except UnicodeDecodeError:
            raise ProtocolViolation("a text that is not UTF-8") from None

    def get_mpint(self) -> int:
        """Take an mpint (RFC 4251 §5); paramiko's own way is quadratic."""
        digits: bytes = self.get_binary()
        if len(digits) > MAX_MPINT:
            raise ProtocolViolation(f"a number of {len(digits)} bytes")
        return int.from_bytes(digits, "big", signed=True)


class CheckedECDSAKey(ECDSAKey):  # type: ignore[misc]  # as above
    """An ECDSA key whose signatures (RFC 5656 §3.1.2) raise ProtocolViolation if they are cut short."""

    def _sigdecode(self, sig: bytes) -> tuple[int, int]:
        numbers = CheckedMessage(sig)
        return numbers.get_mpint(), numbers.get_mpint()


def _key_of(kind: Any, blob: Message) -> Any:
    return kind(CheckedMessage(blob.asbytes()))


KEY_CLASSES: Mapping[str, Any] = {
    name: partial(_key_of, CheckedECDSAKey if kind is ECDSAKey else kind)
    for name, kind in Transport._key_info.items()  # noqa: SLF001  its table of host keys, also those of users
}
