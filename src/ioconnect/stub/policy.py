"""Who may sign in to the stand-in jumphost and listen where, and with which keys and algorithms it serves.

What its sessions ask, and what its faults change. Any thread.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Literal

from ioconnect.keys.authorized_keys import PERMIT_HOST, Grant, PublicKey
from ioconnect.stub.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ioconnect.stub.host_key import HostKey

Refusal = Literal["busy", "not_permitted"]
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1", "", "*"})  # all mean loopback without GatewayPorts


class Policy:
    """One jumphost's; `also_authorized(user_key_blob)` is asked for keys that `authorize` has not been told about."""

    def __init__(
        self,
        *,
        host_key: HostKey,
        user: str,
        ciphers: Sequence[str],
        macs: Sequence[str],
        also_authorized: Callable[[bytes], Grant | None] | None,
    ) -> None:
        self.ledger = Ledger()
        self.user = user
        self.ciphers, self.macs = tuple(ciphers), tuple(macs)
        self.host_key = host_key  # the one that it shows now
        self.revoked: frozenset[bytes] = frozenset()  # key blobs
        self.held_ports: frozenset[int] = frozenset()
        self.forwards_refused: Refusal | None = None
        self._also_authorized = also_authorized
        self._grants: dict[bytes, Grant] = {}
        self._lock = threading.Lock()

    def authorize(self, key: PublicKey, port: int | None = None) -> None:
        """Let `key` sign in and listen on `port`, beside the ports it already has; None: on any."""
        with self._lock:
            known = self._grants.get(key.blob)
            if port is None or (known is not None and known.ports is None):
                ports = None
            else:
                ports = (known.ports or frozenset() if known else frozenset()) | {port}
            self._grants[key.blob] = Grant(key, ports)

    def grant_for(self, user: str, blob: bytes) -> Grant | None:
        """Return what the key may do, None if it may not sign in (now)."""
        if user != self.user or blob in self.revoked:
            return None
        grant = self._grants.get(blob)
        if grant is None and self._also_authorized is not None:
            grant = self._also_authorized(blob)
        return grant

    def forbids_forward(self, grant: Grant, host: str, port: int) -> str | None:
        """Return what sshd says in DEBUG before it refuses the forward, None if it is permitted."""
        if self.forwards_refused == "not_permitted":
            return "Server has disabled port forwarding."  # serverloop.c
        if grant.ports is not None and (host != PERMIT_HOST or port not in grant.ports):
            return "port forwarding refused"  # channels.c
        return None if host in LOCAL_NAMES else "port forwarding refused"

    def is_held(self, port: int) -> bool:
        """Whether a fault makes the port busy."""
        return self.forwards_refused == "busy" or port in self.held_ports
