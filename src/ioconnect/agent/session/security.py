"""What makes a session secure: the jumphost's host key, held against the pins, and the negotiated algorithms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ioconnect.agent.session.diagnosis import host_key_fault
from ioconnect.errors import Fault
from ioconnect.keys.known_hosts import HostKeyStatus, Pins
from ioconnect.keys.public_keys import fingerprint
from ioconnect.status.records import Security

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from ioconnect.config.configuration import Tunnel
    from ioconnect.keys.credentials import ReadFiles
    from ioconnect.ssh.transport import ClientTransport

POST_QUANTUM = ("mlkem", "sntrup")  # hybrid key exchanges: secure while one of their two halves is


class HostKeyVerifier:
    """Holds the jumphost's host key against `pins`: at each key exchange, and each time they were read again.

    `fail` is called with the fault that ends the session, and raises: HostKeyUnpinned, HostKeyChanged and others.
    """

    def __init__(self, tunnel: Tunnel, files: ReadFiles, fail: Callable[[Fault], NoReturn]) -> None:
        self.pins = Pins()
        self._tunnel = tunnel
        self._files = files
        self._fail = fail
        self._blob: bytes | None = None

    def verify(self, blob: bytes) -> str:
        """Return the fingerprint of the key that was shown."""
        outcome = "no sign-in was attempted" if self._blob is None else "it changed in mid-session, which was ended"
        self._check(blob, outcome)
        self._blob = blob
        return fingerprint(blob)

    def pins_read(self, pins: Pins | Fault) -> None:
        """Check the key in use against these pins; a fault of reading them ends the session: they may revoke it."""
        if isinstance(pins, Fault):
            self._fail(pins)
        self.pins = pins
        if self._blob is not None:
            self._check(self._blob, "the pins have changed, and the session was ended")
        self._files.pinned = self._pinned

    @property
    def _pinned(self) -> tuple[str, ...]:
        return self.pins.fingerprints_for(self._tunnel.jumphost.host, self._tunnel.jumphost.port)

    def _check(self, blob: bytes, outcome: str) -> None:
        jumphost = self._tunnel.jumphost
        verdict = self.pins.check(jumphost.host, jumphost.port, blob)
        if verdict is not HostKeyStatus.OK:
            self._fail(host_key_fault(self._tunnel, verdict, fingerprint(blob), self._pinned, outcome))


def security_of(transport: ClientTransport) -> Security:
    """Return the algorithms of a transport whose first key exchange is over."""
    ours, theirs = transport.local_cipher, transport.remote_cipher
    return Security(
        kex=transport.kex,
        cipher=ours if ours == theirs else f"{ours} out, {theirs} in",
        mac=None if "gcm" in ours else transport.local_mac,  # an AEAD cipher needs none, whatever was negotiated
        post_quantum=transport.kex.startswith(POST_QUANTUM),
    )
