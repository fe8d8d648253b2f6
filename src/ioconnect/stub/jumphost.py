"""The stand-in jumphost: an SSH server for reverse tunnels that listens, signs in, forwards, and fails on request.

It does what the vendor's sshd does for this product, as strictly as OpenSSH and in places stricter
(`ledger.violations` holds what clients did wrong). `faults` makes it misbehave. Any thread may call any method.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ioconnect.config.addresses import HostPort, is_loopback
from ioconnect.config.configuration import DEFAULT_SSH_USER
from ioconnect.errors import SystemRefused, UsageFault
from ioconnect.ssh import algorithms
from ioconnect.stub.faults import JOIN_DEADLINE, Faults
from ioconnect.stub.host_key import HostKey
from ioconnect.stub.listener import Acceptor, Server
from ioconnect.stub.policy import Policy
from ioconnect.stub.session import Session

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from ioconnect.keys.authorized_keys import Grant
    from ioconnect.stub.forwarding import Forwarding

CIPHERS, MACS = algorithms.EVERYTHING.ciphers, algorithms.EVERYTHING.macs


class Jumphost(Policy, Server):
    """An SSH server on `listen` (port 0: any), from `start` to `stop`.

    Only loopback unless `allow_remote`. `ciphers` and `macs` in the server's order; the client's preference decides.
    Raises UsageFault for an address that is not loopback; `start` raises SystemRefused when it cannot listen.
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
        super().__init__(
            host_key=host_key or HostKey.generate(),
            user=user,
            ciphers=ciphers,
            macs=macs,
            also_authorized=also_authorized,
        )
        self.faults = Faults(self, self.sessions)
        self._listen = listen
        self._sessions: set[Session] = set()
        self._sessions_lock = threading.Lock()
        self._acceptor: Acceptor | None = None

    def start(self) -> None:
        """Listen and serve; does nothing when already started."""
        if self._acceptor is not None:
            return
        try:
            self._acceptor = Acceptor(self._listen.host, self._listen.port, self._accepted)
        except OSError as error:
            raise SystemRefused(
                f"cannot listen on {self._listen}: {error.strerror or error}", hint="Choose a free port (0: any)."
            ) from error
        self._acceptor.start()

    def stop(self) -> None:
        """Stop listening, end every session, and wait for all threads; idempotent."""
        if self._acceptor is not None:
            self._acceptor.stop()
        self.faults.release_all()
        sessions = self.sessions()
        for session in sessions:
            session.leave()
        for session in sessions:
            session.join(JOIN_DEADLINE)
        self._acceptor = None

    @property
    def address(self) -> HostPort:
        """Where it listens; only while started."""
        assert self._acceptor is not None, "not started"
        return HostPort(self._acceptor.host, self._acceptor.port)

    # sessions

    def sessions(self) -> list[Session]:
        """Return the connections that are being served, signed in or not."""
        with self._sessions_lock:
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

    def _session_over(self, session: Session) -> None:
        """Forget it; its thread's last act."""
        with self._sessions_lock:
            self._sessions.discard(session)
        self.ledger.stir()

    def _accepted(self, sock: socket.socket) -> None:
        self.ledger.note("connections")
        if self.faults.intercepts(sock):
            return
        try:
            session = Session(self, sock, over=self._session_over)
        except OSError:  # reset before it was looked at, or no descriptor is left
            sock.close()
            return
        with self._sessions_lock:
            self._sessions.add(session)
        session.start()


def require_loopback(host: str) -> None:
    """Raise UsageFault unless `host` is an address (or the name) of this machine's loopback."""
    if not is_loopback(host):
        raise UsageFault(
            f"{host!r} is not a loopback address, and the stand-in is for rehearsals on one machine",
            hint="Listen on 127.0.0.1, or allow remote connections explicitly.",
        )
