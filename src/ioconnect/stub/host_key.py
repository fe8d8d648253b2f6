"""The stand-in jumphost's own host key."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import paramiko

from ioconnect.custody.entries import Untrusted
from ioconnect.custody.files import read_regular, write_new
from ioconnect.errors import IdentityUnreadable
from ioconnect.keys import private_keys
from ioconnect.keys.authorized_keys import PublicKey

if TYPE_CHECKING:
    from pathlib import Path

KEY_FILE_LIMIT = 1 << 16  # bytes


class HostKey:
    """The jumphost's ed25519 key: what clients pin (`public`), and the signer that paramiko uses."""

    def __init__(self, pem: bytes) -> None:
        self.pem = pem
        self.signer: Any = paramiko.Ed25519Key.from_private_key(io.StringIO(pem.decode("ascii")))
        self.public = PublicKey(self.signer.asbytes())

    @classmethod
    def generate(cls) -> HostKey:
        """Make a fresh one."""
        return cls(private_keys.generate(None)[0])

    @classmethod
    def load_or_generate(cls, path: Path) -> HostKey:
        """Read the key, or make one and keep it there (0600). Raises IdentityUnreadable, CannotCreate."""
        write_new(path, private_keys.generate(None)[0])
        try:
            content, _ = read_regular(path, limit=KEY_FILE_LIMIT)
            return cls(private_keys.decrypt(private_keys.parse(content), None))
        except (OSError, Untrusted, ValueError) as error:
            what = f"the stub's host key {path} {getattr(error, 'strerror', None) or error}"
            raise IdentityUnreadable(what, hint="Remove the file, and the next start makes a new one.") from error
