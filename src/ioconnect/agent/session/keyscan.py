"""Fetching a jumphost's host keys, so that a person can compare and pin them; nothing is ever signed in to.

One short connection for each kind of key, as ssh-keyscan does: a key exchange shows one key.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from paramiko.ssh_exception import IncompatiblePeer

from ioconnect.agent.dial.dial import dial
from ioconnect.agent.session.diagnosis import Stage, collect, diagnose, sign_in_timeout
from ioconnect.ssh.forwarded_connection import reset
from ioconnect.ssh.loop import Loop
from ioconnect.ssh.transport import ClientTransport, root_cause

if TYPE_CHECKING:
    import socket

    from ioconnect.agent.session.diagnosis import SessionEnd
    from ioconnect.config.addresses import HostPort
    from ioconnect.errors import Fault

KINDS = (
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    ("rsa-sha2-512", "rsa-sha2-256"),
)


class _Seen(Exception):
    """The key was shown and its signature checked: enough."""


class _Scan:
    """One connection that ends as soon as the host key is known; a `Service` that takes nothing."""

    def __init__(self, sock: socket.socket, jumphost: HostPort, algorithms: tuple[str, ...], deadline: float) -> None:
        self.blob: bytes | None = None
        self.error: BaseException | str | None = None
        self.over = threading.Event()
        self._jumphost = jumphost
        self._seconds = deadline - time.monotonic()
        self._loop = Loop()
        self._loop.next_timer = deadline
        self._loop.on_timer = self._on_timer
        self._sock = sock
        self.transport = ClientTransport(
            sock,
            loop=self._loop,
            service=self,
            verify=self._verify,
            ended=self._ended,
            host_key_algorithms=algorithms,
        )

    def _verify(self, blob: bytes) -> None:
        self.blob = blob
        raise _Seen

    def _on_timer(self, _now: float) -> None:
        self._loop.next_timer = float("inf")
        raise sign_in_timeout(self.session_end(), self._seconds)

    def _ended(self, error: BaseException | None) -> None:
        self.error = root_cause(error)
        reset(self._sock)
        self._loop.close()
        self.over.set()

    def session_end(self) -> SessionEnd:
        """What is known of this connection."""
        return collect(self.transport, self._jumphost, "", Stage.KEY_EXCHANGE)

    def advance(self) -> None:
        """Nothing to do between messages."""

    def receive(self, kind: int, body: memoryview) -> bool:  # noqa: ARG002  nothing is ever taken
        """Refuse: nothing comes before the sign-in."""
        return False

    def end_batch(self) -> bool:
        """Nothing to pass on."""
        return False


def fetch(jumphost: HostPort, *, proxy: str = "", deadline: float) -> tuple[bytes, ...]:
    """Return the host key blobs that the jumphost proves to hold, one of each kind it has, ed25519 first.

    `deadline` is a time.monotonic(). Blocks the calling thread. Raises the dial's faults, BannerTimeout,
    ConnectionLost, TooManyConnections and Penalized.
    """
    blobs: list[bytes] = []
    fault: Fault | None = None
    for algorithms in KINDS:
        sock = dial(jumphost, environ=os.environ, deadline=deadline, proxy=proxy)
        scan = _Scan(sock, jumphost, algorithms, deadline)
        scan.transport.start_client(event=threading.Event())
        scan.over.wait(max(0.0, deadline - time.monotonic()) + 5)
        scan.transport.join(1)
        if scan.blob is not None:
            blobs.append(scan.blob)
        elif not isinstance(scan.error, IncompatiblePeer):  # that one means: has no key of this kind
            fault = diagnose(scan.session_end(), scan.error)
            break
    if fault is not None and not blobs:
        raise fault
    if not blobs:
        raise diagnose(scan.session_end(), "it has no host key of a kind that ioconnect knows")
    return tuple(blobs)
