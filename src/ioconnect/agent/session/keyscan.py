"""Fetching a jumphost's host keys, so that a person can compare and pin them; nothing is ever signed in to.

One short connection for each key, as ssh-keyscan does: a key exchange shows one key.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from ioconnect.agent.dial.dial import dial
from ioconnect.agent.session.diagnosis import Stage, collect, diagnose, sign_in_timeout
from ioconnect.keys import public_keys
from ioconnect.ssh.algorithms import HOST_KEYS, host_key_type, offer
from ioconnect.ssh.loop import Loop
from ioconnect.ssh.messages import ProtocolViolation
from ioconnect.ssh.transport import ClientTransport, root_cause
from ioconnect.tcp import reset

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

    from ioconnect.agent.session.diagnosis import SessionEnd
    from ioconnect.config.addresses import HostPort


class _Seen(Exception):
    """The key was shown and its signature checked: enough."""


class _Scan:
    """One connection that ends as soon as the host key is known; a `Service` that takes nothing."""

    def __init__(
        self,
        sock: socket.socket,
        jumphost: HostPort,
        algorithms: tuple[str, ...],
        allowed: Sequence[str],
        deadline: float,
    ) -> None:
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
            offer=offer(allowed),
        )

    def _verify(self, blob: bytes) -> None:
        try:
            public_keys.key_type(blob)
        except ValueError as error:  # paramiko overlooks what follows a key
            raise ProtocolViolation(str(error)) from None
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


def shown_keys(
    jumphost: HostPort,
    *,
    deadline: float,
    proxy: str = "",
    bind_address: str = "",
    allowed: Sequence[str] = (),
    pinned_types: Sequence[str] = (),
    sock: socket.socket | None = None,
) -> Iterator[bytes]:
    """Yield the host key blobs that the jumphost proves to hold, those of pinned types and ed25519 first.

    Each is a connection without a sign-in, which sshd counts against this address (PerSourcePenalties): take no more
    than are needed. The first is `sock`, if that is given. `deadline` is a time.monotonic(); `allowed` are further
    algorithms. Blocks the calling thread.
    Raises the dial's faults, BannerTimeout, ConnectionLost, AlgorithmsMismatch, TooManyConnections and Penalized.
    """
    algorithms = tuple(sorted(HOST_KEYS, key=lambda name: host_key_type(name) not in pinned_types))
    while algorithms:
        if sock is None:
            sock = dial(jumphost, environ=os.environ, deadline=deadline, proxy=proxy, bind_address=bind_address)
        scan, sock = _Scan(sock, jumphost, algorithms, allowed, deadline), None
        scan.transport.start_client(event=threading.Event())
        scan.over.wait(max(0.0, deadline - time.monotonic()) + 5)
        scan.transport.join(1)
        if scan.blob is None:
            raise diagnose(scan.session_end(), scan.error)
        kind, offered = public_keys.key_type(scan.blob), scan.transport.offered_host_keys
        algorithms = tuple(name for name in algorithms if name in offered and host_key_type(name) != kind)
        yield scan.blob
