"""The connection phase of a session: load the identity and the pins, then dial, on a thread of its own; cancellable.

Identity and pins are read again for every session, so a new key or pin takes effect with the next attempt.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from paramiko.ed25519key import Ed25519Key

from ioconnect.agent.dial.dial import DialCancelled, dial
from ioconnect.agent.dial.proxy import choose
from ioconnect.agent.tunnel.shortage import cannot_start, shortage
from ioconnect.errors import Fault
from ioconnect.keys.credentials import ReadFiles, load_identity, load_pins, require_pin, stamps
from ioconnect.ssh.algorithms import host_key_algorithms, offer
from ioconnect.ssh.packetizer import rekey_bytes
from ioconnect.ssh.transport import ClientTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ioconnect.agent.dial.happy_eyeballs import SourcePort
    from ioconnect.config.configuration import AgentSettings, Tunnel
    from ioconnect.config.paths import Paths
    from ioconnect.keys.known_hosts import Pins
    from ioconnect.ssh.loop import Loop
    from ioconnect.ssh.transport import Service

log = logging.getLogger(__name__)

MOST_MILLISECONDS = 2**31 - 1  # an int of setsockopt(2)


@dataclass(frozen=True, slots=True)
class Connected:
    """A connected socket to the jumphost, our private key, and its pins to verify its host key with.

    `reused_source` is false if a source port was to be reused, and an ordinary one connected.
    """

    sock: socket.socket
    key: Ed25519Key
    pins: Pins
    reused_source: bool = True


def new_transport(
    connected: Connected,
    tunnel: Tunnel,
    settings: AgentSettings,
    *,
    loop: Loop,
    service: Service,
    verify: Callable[[bytes], None],
    ended: Callable[[BaseException | None], None],
) -> ClientTransport:
    """Return a transport, not started, that takes over the connected socket; see `ClientTransport`."""
    jumphost = tunnel.jumphost
    transport = ClientTransport(
        connected.sock,
        loop=loop,
        service=service,
        verify=verify,
        ended=ended,
        host_key_algorithms=host_key_algorithms(connected.pins.types_for(jumphost.host, jumphost.port)),
        offer=offer(settings.allowed_algorithms),
        rekey_bytes=rekey_bytes(os.environ.get("IOCONNECT_REKEY_BYTES", "")),
    )
    transport.name = f"tunnel {tunnel.name}"
    return transport


class Connector:
    """One attempt to connect to a tunnel's jumphost.

    `done` is called once, on the dialing thread: with Connected, a Fault, or None if the attempt was cancelled.
    `source` is the source port to reuse, see `dial`.
    """

    def __init__(
        self,
        tunnel: Tunnel,
        settings: AgentSettings,
        paths: Paths,
        *,
        source: SourcePort | None,
        done: Callable[[Connected | Fault | None], None],
    ) -> None:
        self.files = ReadFiles()
        self._tunnel = tunnel
        self._settings = settings
        self._paths = paths
        self._source = source
        self._done = done
        self._lock = threading.Lock()  # guards the two below
        self._cancelled = False
        self._cancel_socket: socket.socket | None = None  # closing it cancels the dial

    def start(self, deadline: float, sock: socket.socket | None = None) -> None:
        """Start the dialing thread; `deadline` is in time.monotonic() seconds. Any thread, once.

        With `sock`, which is connected to the jumphost and ours from now on, nothing is dialed.
        """
        arguments = (deadline, sock)
        threading.Thread(target=self._run, args=arguments, name=f"dial {self._tunnel.name}", daemon=True).start()

    def cancel(self) -> None:
        """Cancel the attempt if it is not done yet. Any thread; returns at once."""
        with self._lock:
            self._cancelled = True
            if self._cancel_socket is not None:
                self._cancel_socket.close()
                self._cancel_socket = None

    def _run(self, deadline: float, sock: socket.socket | None) -> None:
        """Call `done` once, whatever is raised."""
        result: Connected | Fault | None
        try:
            with self._cancelling() as cancelled:
                result = self._dial(deadline, cancelled, sock)
        except DialCancelled:
            result = None
        except BaseException as error:
            result = error if isinstance(error, Fault) and shortage(error) is None else cannot_start(error)
            if not isinstance(error, Fault) and shortage(error) is None:
                log.exception("%s: cannot dial", self._tunnel.name)
        if sock is not None and not isinstance(result, Connected):
            sock.close()
        if self._cancelled and isinstance(result, Connected):
            result.sock.close()
            result = None
        self._done(result)

    @contextlib.contextmanager
    def _cancelling(self) -> Iterator[socket.socket]:
        """Yield a socket that becomes readable once the attempt is cancelled."""
        cancelled, cancel_socket = socket.socketpair()
        with cancelled, cancel_socket:
            with self._lock:
                self._cancel_socket = cancel_socket
                if self._cancelled:
                    cancel_socket.close()
            try:
                yield cancelled
            finally:
                with self._lock:
                    self._cancel_socket = None

    def _dial(self, deadline: float, cancelled: socket.socket, sock: socket.socket | None) -> Connected:
        self.files.stamps = stamps(self._tunnel, self._settings, self._paths)
        pem = load_identity(self._tunnel, self._settings, self._paths)
        key = Ed25519Key.from_private_key(io.StringIO(pem.decode("ascii")))
        jumphost = self._tunnel.jumphost
        pins = load_pins(self._paths).about(jumphost.host, jumphost.port)
        require_pin(self._tunnel, pins)  # before the jumphost is troubled
        self.files.pinned = pins.fingerprints_for(jumphost.host, jumphost.port)
        source = self._source if choose(jumphost, self._tunnel.proxy, os.environ) is None else None
        if sock is None:
            sock = dial(
                jumphost,
                environ=os.environ,
                deadline=deadline,
                proxy=self._tunnel.proxy,
                bind_address=self._tunnel.bind_address,
                source=source,
                cancelled=cancelled,
            )
        self._set_tcp_options(sock)
        return Connected(sock, key, pins, reused_source=source is None or source.is_of(sock))

    def _set_tcp_options(self, sock: socket.socket) -> None:
        if sock.family == socket.AF_UNIX:
            return  # one end of a socketpair: the TLS pump has the TCP socket
        with contextlib.suppress(OSError):  # already disconnected: the next read reports it
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                timeout = self._settings.keepalive_interval * (self._settings.keepalive_count_max + 1)
                milliseconds = min(int(timeout * 1000), MOST_MILLISECONDS)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
