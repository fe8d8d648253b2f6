"""An SSH server of paramiko's as a jumphost up to the sign-in: with any host keys and algorithms."""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING, Any

import paramiko
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.rigs.stranger import PATIENCE, Stranger

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence


def ed25519() -> paramiko.PKey:
    """Return a new host key."""
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    return paramiko.Ed25519Key.from_private_key(io.StringIO(pem.decode()))


class ParamikoJumphost(Stranger):
    """Serves each connection with the host keys of `keys(number)`, its number from 0; `options` are lists by name."""

    def __init__(self, keys: Callable[[int], Sequence[paramiko.PKey]], **options: Sequence[str]) -> None:
        super().__init__(self._talk_ssh)
        self.connections = 0
        self._keys = keys
        self._options = options

    def _talk_ssh(self, connection: socket.socket) -> None:
        transport: Any = paramiko.Transport(connection.dup())
        offered = transport.get_security_options()
        for name, algorithms in self._options.items():
            setattr(offered, name, tuple(algorithms))
        for key in self._keys(self.connections):
            transport.add_server_key(key)
        self.connections += 1
        transport.start_server(event=threading.Event(), server=paramiko.ServerInterface())
        transport.join(PATIENCE)
        transport.close()
