"""One SSH connection to the stand-in jumphost: paramiko does key exchange and sign-in, the rest is ours.

paramiko's `Channel` is never used: `Forwarding` answers the connection protocol. What its reading thread answers
while keys are being exchanged is kept back until our NEWKEYS (RFC 4253 §7.1; OpenSSH 10.4 disconnects a peer that
does otherwise). That thread never blocks on sending, because `Wire` queues, and it ends last of all.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import paramiko
from paramiko import common
from paramiko.message import Message
from paramiko.packet import Packetizer

from ioconnect.escape import escaped
from ioconnect.stub.forwarding import Forwarding
from ioconnect.stub.wire import Wire

if TYPE_CHECKING:
    import socket

    from ioconnect.stub.jumphost import Jumphost
    from ioconnect.stub.keys import Grant

LOG_CHANNEL = "ioconnect.stub.transport"
KEX_DEADLINE = 600.0  # seconds that data waits for new keys before the session is given up
BANNER_DEADLINE = 60.0  # seconds for the client's version line
JOIN_DEADLINE = 5.0
FIRST_KEPT_BACK = 50  # message numbers below are the transport's own (RFC 4250 §4.1.2)
DISCONNECT_PROTOCOL_ERROR = 2  # RFC 4250 §4.2.2
DISCONNECT_BY_APPLICATION = 11
RFC_CURVE = "curve25519-sha256"  # RFC 8731; paramiko has it under libssh's name only
LIBSSH_CURVE = "curve25519-sha256@libssh.org"


def _message(kind: bytes, fields: tuple[str | bytes | int, ...]) -> Message:
    message = Message()
    message.add_byte(kind)
    for field in fields:
        if isinstance(field, bool):
            message.add_boolean(field)
        elif isinstance(field, int):
            message.add_int(field)
        else:
            message.add_string(field)
    return message


class _Packets(Packetizer):  # type: ignore[misc]  # paramiko ships no types
    """paramiko's packets without its handshake timer, whose thread would outlive us; `Wire` keeps the time."""

    def start_handshake(self, timeout: float) -> None:
        """Start no timer."""

    def ask_for_new_keys(self) -> None:
        """Have the reading thread begin a key exchange within a tenth of a second."""
        self._trigger_rekey()


class _Gatekeeper(paramiko.ServerInterface):  # type: ignore[misc]  # paramiko ships no types
    """Answers paramiko's questions about signing in."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get_allowed_auths(self, username: str) -> str:  # noqa: ARG002  paramiko's signature
        return "publickey"

    def check_auth_publickey(self, username: str, key: Any) -> int:
        granted = self._session.may_sign_in(username, key.asbytes())
        return int(common.AUTH_SUCCESSFUL if granted else common.AUTH_FAILED)


class Session(paramiko.Transport):  # type: ignore[misc]  # paramiko ships no types
    """One accepted connection; it runs from `start_serving` until the client leaves or a fault ends it."""

    _preferred_kex = (RFC_CURVE, *paramiko.Transport._preferred_kex)  # noqa: SLF001  no public way to add one
    _kex_info = paramiko.Transport._kex_info | {  # noqa: SLF001
        RFC_CURVE: paramiko.Transport._kex_info[LIBSSH_CURVE]  # noqa: SLF001
    }

    def __init__(self, jumphost: Jumphost, sock: socket.socket) -> None:
        self.wire = Wire(sock)
        super().__init__(self.wire, packetizer_class=_Packets)
        self.set_log_channel(LOG_CHANNEL)
        options = self.get_security_options()
        options.ciphers, options.digests = jumphost.ciphers, jumphost.macs
        self.clear_to_send_timeout, self.banner_timeout = KEX_DEADLINE, BANNER_DEADLINE
        self.grant: Grant | None = None
        self.rekeys = 0
        self.forwarding = Forwarding(self, jumphost)
        self._jumphost = jumphost
        self._ledger = jumphost.ledger
        self._counted = False
        self._kept_back: list[Message] = []
        self._handler_table.update(self.forwarding.receivers())
        self._handler_table[common.MSG_USERAUTH_REQUEST] = self._on_auth_request

    def start_serving(self) -> None:
        """Begin with the banner; returns at once."""
        self.start_server(event=threading.Event(), server=_Gatekeeper(self))

    # leaving

    def farewell(self, text: str, code: int = DISCONNECT_BY_APPLICATION) -> None:
        """Send SSH_MSG_DISCONNECT and close; returns at once."""
        self.answer(common.cMSG_DISCONNECT, code, text, "")
        self.wire.close()

    def expel(self, why: str) -> None:
        """Disconnect a client that broke the protocol, and remember why."""
        self._ledger.violation(escaped(why))
        self.farewell(why, DISCONNECT_PROTOCOL_ERROR)

    def run(self) -> None:
        """Be paramiko's thread, then end everything that hung on the session."""
        try:
            super().run()
        finally:
            self._end()

    def _end(self) -> None:
        if isinstance(self.saved_exception, paramiko.SSHException) and self._counted:
            self._ledger.violation(escaped(str(self.saved_exception)))
        self.active = False
        self.wire.close()
        self.forwarding.end()
        self.wire.join(JOIN_DEADLINE)
        if self._counted:
            self._ledger.note("sessions", -1)
        self._jumphost.session_ended(self)

    # sending

    def say(self, kind: bytes, *fields: str | bytes | int) -> None:
        """Send a message of the connection protocol, if need be after a key exchange. Not for the reading thread."""
        try:
            self._send_user_message(_message(kind, fields))
        except paramiko.SSHException:  # no new keys in time: what is not sent must not be skipped
            self.wire.abort()
        except (EOFError, OSError):
            pass  # it is gone; the reading thread ends the session

    def answer(self, kind: bytes, *fields: str | bytes | int) -> None:
        """Send a message from the reading thread, which must not wait; also what no key exchange holds back."""
        with contextlib.suppress(EOFError, OSError):  # it is gone, as above
            self._send_message(_message(kind, fields))

    def _send_message(self, data: Message) -> None:
        """Keep back what the reading thread may not say during a key exchange."""
        during_exchange = self.initial_kex_done and not self.clear_to_send.is_set()
        if during_exchange and threading.current_thread() is self and data.asbytes()[0] >= FIRST_KEPT_BACK:
            self._kept_back.append(data)
        else:
            super()._send_message(data)

    # keys

    def ask_for_new_keys(self) -> None:
        """Begin a key exchange from our side, on the reading thread."""
        self.packetizer.ask_for_new_keys()

    def _send_kex_init(self) -> None:
        self.add_server_key(self._jumphost.host_key.signer)  # a swapped one also reaches sessions that live
        super()._send_kex_init()

    def _parse_newkeys(self, m: Message) -> None:
        again = self.initial_kex_done
        kept_back, self._kept_back = self._kept_back, []
        for message in kept_back:  # our NEWKEYS is out; before other threads may send, so answers keep their order
            super()._send_message(message)
        super()._parse_newkeys(m)
        self.server_sig_algs = False  # EXT_INFO belongs to the first NEWKEYS only (RFC 8308 §2.4)
        if again:
            self.rekeys += 1
            self._ledger.note("rekeys")

    # signing in

    def may_sign_in(self, user: str, blob: bytes) -> bool:
        """Whether this key is authorized for this user now."""
        self.grant = self._jumphost.grant_for(user, blob)
        return self.grant is not None

    def _on_auth_request(self, m: Message) -> None:
        peek = Message(m.asbytes())
        _user, _service, method = peek.get_binary(), peek.get_binary(), peek.get_binary()
        if method == b"publickey":
            self._ledger.note("auth_requests")
            if peek.get_boolean():
                self._ledger.note("signatures")
        self.auth_handler._parse_userauth_request(m)  # noqa: SLF001  where paramiko's own loop would have sent it
        if self.is_authenticated() and not self._counted:
            self._counted = True
            self.wire.signed_in()
            self._ledger.note("sign_ins")
            self._ledger.note("sessions")
