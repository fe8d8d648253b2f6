"""A jumphost that is honest up to the sign-in, and then says exactly what the test tells it to.

paramiko's server does key exchange and sign-in; every message of the connection protocol goes to the test. It also
holds the client to OpenSSH 10.4's rule: between its KEXINIT and its NEWKEYS nothing but key exchange.
"""

from __future__ import annotations

import io
import queue
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

import paramiko
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paramiko.message import Message
from paramiko.packet import Packetizer

from ioconnect.agent.session.session import Session
from ioconnect.agent.tunnel.counters import Counters
from ioconnect.agent.tunnel.events import Closed, CountersChanged, Granted, Lost, SignedIn, TargetChanged
from ioconnect.config.addresses import HostPort
from ioconnect.config.configuration import AgentSettings, Tunnel
from ioconnect.config.paths import Paths
from ioconnect.keys import identity, known_hosts

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 20.0
GLOBAL_REQUEST, REQUEST_SUCCESS, REQUEST_FAILURE = 80, 81, 82
OPEN, CONFIRMATION, OPEN_FAILURE, ADJUST, DATA, EOF, CLOSE = 90, 91, 92, 93, 94, 96, 97
LISTEN_PORT = 50_000


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def open_message(peer_id: int, *, window: int = 1 << 21, packet: int = 32768, port: int = LISTEN_PORT) -> bytes:
    """Return CHANNEL_OPEN forwarded-tcpip (RFC 4254 §7.2)."""
    return (
        bytes((OPEN,))
        + string(b"forwarded-tcpip")
        + struct.pack(">III", peer_id, window, packet)
        + string(b"localhost")
        + struct.pack(">I", port)
        + string(b"127.0.0.1")
        + struct.pack(">I", 4711)
    )


def data_message(channel: int, data: bytes) -> bytes:
    return bytes((DATA,)) + struct.pack(">I", channel) + string(data)


class _Packets(Packetizer):  # type: ignore[misc]
    """Hands the connection protocol to the test and watches the client's key exchanges."""

    jumphost: ScriptedJumphost

    def read_message(self) -> tuple[int, Any]:
        while True:
            kind, message = super().read_message()
            self.jumphost.saw(kind)
            if kind < 80:
                return kind, message
            self.jumphost.took(kind, message.asbytes())


class _Doors(paramiko.ServerInterface):  # type: ignore[misc]
    def get_allowed_auths(self, username: str) -> str:  # noqa: ARG002  paramiko's signature
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:  # noqa: ARG002  paramiko's signature
        return int(paramiko.AUTH_SUCCESSFUL)


class ScriptedJumphost:
    """One listening socket, one client; `messages` are what it sent after the sign-in.

    Forwards are granted, keepalives answered as sshd does.
    """

    def __init__(self, *, ciphers: tuple[str, ...] = ("aes128-gcm@openssh.com",), strict: bool = True) -> None:
        self._ciphers = ciphers
        self._strict = strict  # key exchange: packets are counted from 0 again with each (OpenSSH 9.6)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        self.host_key = paramiko.Ed25519Key.from_private_key(io.StringIO(pem.decode()))
        self.messages: queue.Queue[tuple[int, bytes]] = queue.Queue()
        self.violations: list[int] = []
        self.key_exchanges = 0
        self.grant = True
        self._client_in_kex = False
        self.transport: paramiko.Transport | None = None
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return

        def packets(sock: socket.socket) -> _Packets:
            made = _Packets(sock)
            made.jumphost = self
            return made

        transport = paramiko.Transport(sock, packetizer_class=packets, strict_kex=self._strict)
        transport.get_security_options().ciphers = self._ciphers
        transport.add_server_key(self.host_key)
        self.transport = transport
        transport.start_server(event=threading.Event(), server=_Doors())

    def saw(self, kind: int) -> None:
        if kind == 20:
            self._client_in_kex = True
        elif kind == 21:
            self._client_in_kex = False
            self.key_exchanges += 1
        elif self._client_in_kex and not (kind <= 4 or 20 <= kind <= 49):
            self.violations.append(kind)

    def took(self, kind: int, body: bytes) -> None:
        if kind == GLOBAL_REQUEST and b"tcpip-forward" in body[:20]:
            if body[4:17] == b"tcpip-forward":
                self.send(bytes((REQUEST_SUCCESS if self.grant else REQUEST_FAILURE,)), wait=False)
        elif kind == GLOBAL_REQUEST and b"keepalive@openssh.com" in body[:25]:
            self.send(bytes((REQUEST_FAILURE,)), wait=False)
        else:
            self.messages.put((kind, body))

    def send(self, payload: bytes, *, wait: bool = True) -> None:
        """Send one message with whatever is in it; waits for a key exchange to end, as an honest server would."""
        message = Message(payload)
        assert self.transport is not None
        if wait:
            self.transport._send_user_message(message)
        else:
            self.transport._send_message(message)

    def rekey(self) -> None:
        """Ask for new keys, unless an exchange is under way."""
        transport = self.transport
        assert transport is not None
        if transport.clear_to_send.is_set() and not transport.in_kex:
            transport._send_kex_init()

    def next(self, *kinds: int) -> tuple[int, bytes]:
        """Return the next message from the client of one of these kinds (any if none), dropping others."""
        while True:
            kind, body = self.messages.get(timeout=PATIENCE)
            if not kinds or kind in kinds:
                return kind, body

    def open(self, peer_id: int, **options: int) -> int:
        """Open a channel and return the client's id of it."""
        self.send(open_message(peer_id, **options))
        kind, body = self.next(CONFIRMATION, OPEN_FAILURE)
        assert kind == CONFIRMATION, f"refused: {body!r}"
        own, theirs = struct.unpack(">II", body[:8])
        assert own == peer_id
        return int(theirs)

    def close(self) -> None:
        self._listener.close()
        if self.transport is not None:
            self.transport.close()
            self.transport.join(PATIENCE)
        self._thread.join(PATIENCE)


class Client:
    """A Session against a scripted jumphost, and what it reports."""

    def __init__(self, folder: Path, jumphost: ScriptedJumphost, target: HostPort, **tunnel: Any) -> None:
        self.paths = Paths(folder / "c", folder / "id", folder / "known_hosts", folder / "state", folder / "log")
        identity.generate(self.paths.identity)
        known_hosts.pin(self.paths.known_hosts, "127.0.0.1", jumphost.port, [jumphost.host_key.asbytes()])
        self.reports: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.counters = Counters()
        settings = AgentSettings(
            keepalive_interval=tunnel.pop("keepalive_interval", 60.0),
            buffer_budget=tunnel.pop("buffer_budget", 64 << 20),
        )
        self.session = Session(
            Tunnel("t", HostPort("127.0.0.1", LISTEN_PORT), target, ssh_port=jumphost.port, **tunnel),
            settings,
            self.paths,
            self.counters,
            self.reports.put,
        )
        self.over = False
        self.session.start()

    def next(self, kind: type[Any]) -> Any:
        """Return the next report, which must be of this kind; CountersChanged and TargetChanged do not count."""
        while True:
            report = self.reports.get(timeout=PATIENCE)
            if not isinstance(report, CountersChanged | TargetChanged):
                assert isinstance(report, kind), report
                return report

    def connected(self) -> None:
        self.next(SignedIn)
        self.next(Granted)

    def lost(self) -> Lost:
        """Return the last report, which must be Lost."""
        lost: Lost = self.next(Lost)
        self.over = True
        return lost

    def leave(self) -> None:
        """Close if it is not over, and wait for it."""
        if not self.over:
            self.session.close()
        while not self.over:
            self.over = isinstance(self.reports.get(timeout=PATIENCE), Closed | Lost)


def pack_id(kind: int, channel: int) -> bytes:
    return struct.pack(">BI", kind, channel)
