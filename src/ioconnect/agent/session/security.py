"""The algorithms that a session negotiated, as status shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ioconnect.status.records import Security

if TYPE_CHECKING:
    from ioconnect.ssh.transport import ClientTransport

POST_QUANTUM = ("mlkem", "sntrup")  # hybrid key exchanges: secure while one of their two halves is


def security_of(transport: ClientTransport) -> Security:
    """Return the algorithms of a transport whose first key exchange is over."""
    ours, theirs = transport.local_cipher, transport.remote_cipher
    return Security(
        kex=transport.kex,
        cipher=ours if ours == theirs else f"{ours} out, {theirs} in",
        mac=None if "gcm" in ours else transport.local_mac,  # an AEAD cipher needs none, whatever was negotiated
        post_quantum=transport.kex.startswith(POST_QUANTUM),
    )
