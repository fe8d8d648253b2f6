"""The stand-in jumphost: an SSH server for reverse tunnels that listens, signs in, forwards, and fails on request.

It does what the vendor's sshd does for this product, as strictly as OpenSSH and in places stricter
(`ledger.violations` holds what clients did wrong). `faults` makes it misbehave. Any thread may call any method.
"""

from __future__ import annotations

import contextlib
import ipaddress
import threading
from typing import TYPE_CHECKING

from ioconnect.config.addresses import HostPort
from ioconnect.config.configuration import DEFAULT_SSH_USER
from ioconnect.errors import SystemRefused, UsageFault
from ioconnect.ssh import algorithms
from ioconnect.stub.faults import Faults
from ioconnect.stub.keys import PERMIT_HOST, Grant, HostKey, PublicKey
from ioconnect.stub.ledger import Ledger
from ioconnect.stub.listener import Listener
from ioconnect.stub.session import Session

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from ioconnect.stub.forwarding import Forwarding

CIPHERS = (*algorithms.CIPHERS[:3], "aes192-ctr", "aes128-ctr")
MACS = algorithms.MACS
JOIN_DEADLINE = 10.0  # seconds for a session to end once it has been told to
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1", "", "*"})  # all mean loopback without GatewayPorts


class Jumphost:
    """An SSH server on `listen` (port 0: any), from `start` to `stop`; also a context manager.

    Only loopback unless `allow_remote`. `also_authorized(user_key_blob)` is asked for keys that `authorize` has not
    been told about. `ciphers` and `macs` in the server's order; the client's preference decides. Raises UsageFault
    for an address that is not loopback; `start` raises SystemRefused when it cannot listen.
    """

    def __init__(
        self,
        listen: HostPort = HostPort("127.0.0.1", 0),  # noqa: B008  frozen
        *,
        host_key: HostKey | None = None,
        user: str = DEFAULT_SSH_USER,
        ciphers: Sequence[str] = CIPHERS,
        macs: Sequence[str] = MACS,
        allow_remote: bool = False,
        also_authorized: Callable[[bytes], Grant | None] | None = None,
    ) -> None:
        if not allow_remote:
            require_loopback(listen.host)
        self.user = user
        self.ciphers, self.macs = tuple(ciphers), tuple(macs)
        self.ledger = Ledger()
        self.faults = Faults(self, host_key or HostKey.generate())
        self._listen = listen
        self._also_authorized = also_authorized
        self._grants: dict[bytes, Grant] = {}
        self._sessions: set[Session] = set()
        self._lock = threading.Lock()
        self._listener: Listener | None = None

    def start(self) -> None:
        """Listen and serve; does nothing when already started."""
        if self._listener is not None:
            return
        try:
            self._listener = Listener(self._listen.host, self._listen.port, name="stub-jumphost")
        except OSError as error:
            raise SystemRefused(
                f"cannot listen on {self._listen}: {error.strerror or error}",
                hint="Choose a free port (0: any).",
            ) from error
        self._listener.start(self._accepted)

    def stop(self) -> None:
        """Stop listening, end every session, and wait for all threads; idempotent."""
        if self._listener is not None:
            self._listener.close()
        self.faults.release_all()
        sessions = self.sessions()
        for session in sessions:
            session.leave()
        for session in sessions:
            session.join(JOIN_DEADLINE)
        self._listener = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def address(self) -> HostPort:
        """Where it listens; only while started."""
        assert self._listener is not None, "not started"
        return HostPort(self._listener.host, self._listener.port)

    @property
    def host_key(self) -> HostKey:
        """The host key that it shows now."""
        return self.faults.host_key

    # keys

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
        if user != self.user or self.faults.is_revoked(blob):
            return None
        with self._lock:
            grant = self._grants.get(blob)
        if grant is None and self._also_authorized is not None:
            grant = self._also_authorized(blob)
        return grant

    def forbids_forward(self, grant: Grant | None, host: str, port: int) -> str | None:
        """Return what sshd says in MSG_DEBUG before it refuses the forward, None if it is permitted."""
        if self.faults.forwards_refused == "not_permitted":
            return "Server has disabled port forwarding."  # serverloop.c
        if grant is None or (grant.ports is not None and (host != PERMIT_HOST or port not in grant.ports)):
            return "port forwarding refused"  # channels.c
        return None if host in LOCAL_NAMES else "port forwarding refused"

    def is_held(self, port: int) -> bool:
        """Whether a fault makes the port busy."""
        return self.faults.forwards_refused == "busy" or self.faults.is_ghost(port)

    # sessions

    def sessions(self) -> list[Session]:
        """Return the connections that are being served, signed in or not."""
        with self._lock:
            return list(self._sessions)

    def listens_on(self, port: int) -> bool:
        """Whether a session has this port forwarded."""
        return any(each.listens_on(port) for each in self._forwardings())

    @property
    def open_channels(self) -> int:
        """How many channel numbers are in use in all sessions; 0 when every connection has ended properly."""
        return sum(each.open_channels for each in self._forwardings())

    def has_channel(self, origin: tuple[str, int]) -> bool:
        """Whether the client took the connection that this TCP peer opened to an allocated port."""
        return any(each.has_channel(origin) for each in self._forwardings())

    def _forwardings(self) -> list[Forwarding]:
        return [session.forwarding for session in self.sessions() if session.forwarding is not None]

    def session_ended(self, session: Session) -> None:
        """Forget it; called by the session's own thread, as its last act."""
        with self._lock:
            self._sessions.discard(session)
        self.ledger.stir()

    def _accepted(self, sock: socket.socket) -> None:
        self.ledger.note("connections")
        if self.faults.intercepts(sock):
            return
        try:
            session = Session(self, sock)
        except OSError:  # reset before it was looked at
            sock.close()
            return
        with self._lock:
            self._sessions.add(session)
        session.start()


def require_loopback(host: str) -> None:
    """Raise UsageFault unless `host` is an address (or the name) of this machine's loopback."""
    with contextlib.suppress(ValueError):
        if host == "localhost" or ipaddress.ip_address(host).is_loopback:
            return
    raise UsageFault(
        f"{host!r} is not a loopback address, and the stand-in is for rehearsals on one machine",
        hint="Listen on 127.0.0.1, or allow remote connections explicitly.",
    )
