"""One SSH connection to the stand-in jumphost: paramiko does key exchange and sign-in, `Forwarding` the rest.

All of it runs on one thread, the session's event loop; other threads only post. `freeze` blocks that thread, as
SIGSTOP would block sshd's process.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import paramiko
from paramiko import common

from ioconnect.escape import escaped
from ioconnect.ssh import messages as ssh
from ioconnect.ssh.algorithms import EVERYTHING, Offer
from ioconnect.ssh.checked_message import CheckedMessage
from ioconnect.ssh.loop import Loop
from ioconnect.ssh.messages import ProtocolViolation, Reader
from ioconnect.ssh.packetizer import AFTER_SIGN_IN, BEFORE_SIGN_IN
from ioconnect.ssh.transport import LoopTransport
from ioconnect.stub.forwarding import Forwarding
from ioconnect.tcp import reset

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from ioconnect.keys.authorized_keys import Grant
    from ioconnect.stub.policy import Policy

log = logging.getLogger(__name__)
LOGIN_GRACE = 120.0  # seconds until the sign-in, as sshd's LoginGraceTime
BYTES_BEFORE_SIGN_IN = 1 << 18
FLUSH_DEADLINE = 1.0  # seconds that a polite close gives the client to take what is queued
FREEZE_DEADLINE = 10.0  # seconds for the loop to come to a stop
EXPECTED = (ProtocolViolation, paramiko.SSHException, EOFError, OSError)
BY_APPLICATION = 11  # RFC 4253 §11.1


class _Over(EOFError):
    """Ends the session's thread; an EOFError, which paramiko takes for an ordinary end."""


class _SignIn(paramiko.ServerInterface):  # type: ignore[misc]  # paramiko ships no types
    """Answers paramiko's questions about signing in, and is the packetizer's service until somebody has."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.grant: Grant | None = None
        self.transport: ServerTransport

    def get_allowed_auths(self, _username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: Any) -> int:
        self.grant = self._policy.grant_for(username, key.asbytes())
        return int(common.AUTH_FAILED if self.grant is None else common.AUTH_SUCCESSFUL)

    def advance(self) -> None:
        """Bound what comes before the sign-in."""
        if self.transport.packetizer.inbound.bytes > BYTES_BEFORE_SIGN_IN:
            raise ProtocolViolation("too much before the sign-in")

    def receive(self, kind: int, body: memoryview) -> bool:
        """Refuse a global request; anything else of the connection protocol ends the session."""
        if kind != ssh.MSG_GLOBAL_REQUEST:
            raise ProtocolViolation(f"message {kind} before the sign-in")
        reader = Reader(body)
        reader.string()
        if reader.boolean():
            self.transport.packetizer.outbound.queue(bytes((ssh.MSG_REQUEST_FAILURE,)))
        return True

    def end_batch(self) -> bool:
        """Nothing to pass on."""
        return False


class ServerTransport(LoopTransport):
    """The server's role; see `Session`."""

    def __init__(self, sock: socket.socket, session: Session, policy: Policy, sign_in: _SignIn) -> None:
        super().__init__(
            sock,
            loop=session.loop,
            service=sign_in,
            ended=session.ended,
            offer=Offer(EVERYTHING.kex, policy.ciphers, policy.macs),
        )
        self.packetizer.answers_ping = False
        self.packetizer.paramiko_kinds = BEFORE_SIGN_IN - {common.MSG_USERAUTH_INFO_RESPONSE}  # a count to loop over
        self._policy = policy
        self._session = session
        self._handler_table[common.MSG_USERAUTH_REQUEST] = self._on_auth_request

    def _send_kex_init(self) -> None:
        self.add_server_key(self._policy.host_key.signer)  # a swapped one also reaches sessions that live
        super()._send_kex_init()

    def _parse_newkeys(self, m: CheckedMessage) -> None:
        again = self.initial_kex_done
        super()._parse_newkeys(m)
        self.server_sig_algs = False  # EXT_INFO belongs to the first NEWKEYS only (RFC 8308 §2.4)
        if again:
            self._session.rekeyed()

    def _on_auth_request(self, m: CheckedMessage) -> None:
        peek = CheckedMessage(m.asbytes())
        _user, _service, method = peek.get_binary(), peek.get_binary(), peek.get_binary()
        if method == b"publickey":
            self._policy.ledger.note("auth_requests")
            if peek.get_boolean():
                self._policy.ledger.note("signatures")
        self.auth_handler._parse_userauth_request(m)  # noqa: SLF001  where paramiko's own loop would have sent it
        if self.is_authenticated():
            self._session.signed_in()


class Session:
    """One accepted connection; it runs from `start` until the client leaves or a fault ends it. Any thread.

    `over` is called with it on its own thread, last.
    """

    def __init__(self, policy: Policy, sock: socket.socket, *, over: Callable[[Session], None]) -> None:
        self.rekeys = 0
        self.forwarding: Forwarding | None = None  # once signed in
        self.loop = Loop()
        self._policy = policy
        self._ledger = policy.ledger
        self._sock = sock
        self._over = over
        self._sign_in = _SignIn(policy)
        try:
            self._transport = self._sign_in.transport = ServerTransport(sock, self, policy, self._sign_in)
        except BaseException:
            self.loop.close()
            raise
        self._transport.name = "stub-session"
        self.loop.next_timer = self.loop.now + LOGIN_GRACE
        self.loop.on_timer = self._on_timer
        self._changed = threading.Condition()  # guards the three below
        self._frozen = self._is_held = self._ending = False

    def start(self) -> None:
        """Begin with the banner; returns at once."""
        self._transport.start_server(event=threading.Event(), server=self._sign_in)

    def join(self, timeout: float) -> None:
        """Wait for the end."""
        self._transport.join(timeout)

    @property
    def is_signed_in(self) -> bool:
        """Whether it is signed in and not over."""
        return self.forwarding is not None and self._transport.is_alive()

    def request_rekey(self) -> None:
        """Begin a key exchange from our side."""
        self.loop.post(self._transport.packetizer.request_rekey)

    def freeze(self) -> None:
        """Stop reading and writing, and return when that holds; the TCP connection stays as it is."""
        with self._changed:
            self._frozen = True
            self.loop.post(self._hold)
            self._changed.wait_for(lambda: self._is_held or self._ending, FREEZE_DEADLINE)

    def thaw(self) -> None:
        """End `freeze`."""
        with self._changed:
            self._frozen = False
            self._changed.notify_all()

    def abort(self) -> None:
        """Cut the connection with a reset."""
        self._end(self._reset, if_frozen=self._reset)

    def leave(self, text: str | None = None) -> None:
        """Send what is queued, and DISCONNECT with `text` if there is one, and close; frozen: just close."""
        self._end(lambda: self._close(text), if_frozen=self._drop)

    # --- the loop's thread

    def signed_in(self) -> None:
        """The client is signed in: from now on the connection protocol is spoken."""
        assert self._sign_in.grant is not None
        packetizer = self._transport.packetizer
        if self.forwarding is None:
            self.forwarding = packetizer.service = Forwarding(self._policy, self._sign_in.grant, packetizer)
            packetizer.paramiko_kinds = AFTER_SIGN_IN
            self.loop.next_timer = float("inf")
            self._ledger.note("sign_ins")
            self._ledger.note("sessions")

    def rekeyed(self) -> None:
        """Count a key exchange after the first."""
        self.rekeys += 1
        self._ledger.note("rekeys")

    def ended(self, error: BaseException | None) -> None:
        """Free all that hung on the session; last on its thread."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        if error is not None and not isinstance(error, EXPECTED):
            log.error("a bug ended a session of the stub", exc_info=error)
        if self.forwarding is not None:
            if isinstance(error, ProtocolViolation | paramiko.SSHException):
                self._ledger.violation(escaped(str(error)))
            self.forwarding.cut()
            self._ledger.note("sessions", -1)
        self.loop.close()
        self._over(self)

    def _on_timer(self, now: float) -> None:
        if self.forwarding is None:
            raise _Over
        self.loop.next_timer = self.forwarding.on_timer(now)

    def _end(self, act: Callable[[], None], *, if_frozen: Callable[[], None]) -> None:
        with self._changed:
            self._ending = True
            self.loop.post(if_frozen if self._frozen else act)
            self._changed.notify_all()

    def _hold(self) -> None:
        with self._changed:
            self._is_held = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._frozen or self._ending)
            self._is_held = False

    def _reset(self) -> None:
        reset(self._sock)
        raise _Over

    def _drop(self) -> None:
        raise _Over

    def _close(self, text: str | None) -> None:
        outbound = self._transport.packetizer.outbound
        if text is None:
            outbound.flush()
        else:
            outbound.disconnect(BY_APPLICATION, text, patience=FLUSH_DEADLINE)
        raise _Over
