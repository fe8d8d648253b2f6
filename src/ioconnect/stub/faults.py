"""What the stand-in jumphost can be told to do wrong, while it runs."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

from ioconnect.stub.host_key import HostKey
from ioconnect.stub.listener import listening_socket
from ioconnect.tcp import reset

if TYPE_CHECKING:
    from collections.abc import Callable

    from ioconnect.keys.authorized_keys import PublicKey
    from ioconnect.stub.policy import Policy, Refusal
    from ioconnect.stub.session import Session

REFUSALS: dict[str, Refusal] = {"busy": "busy", "not_permitted": "not_permitted"}
LINE_LIMIT = 255  # bytes before the banner, RFC 4253 §4.2
JOIN_DEADLINE = 10.0  # seconds for a session to end


class Faults:
    """One jumphost's faults; every method may be called from any thread and returns when the fault holds."""

    def __init__(self, policy: Policy, sessions: Callable[[], list[Session]]) -> None:
        self._policy = policy
        self._sessions = sessions
        self._own_host_key = policy.host_key
        self._lock = threading.Lock()  # guards what follows, and what of the policy is read and replaced
        self._holders: dict[int, socket.socket | None] = {}
        self._silent: list[socket.socket] = []
        self._silence = False
        self._line: bytes | None = None

    # sessions that live

    def freeze(self) -> None:
        """Stop reading and writing on every session that there is, as SIGSTOP of sshd's processes would.

        TCP stays alive and their ports stay taken. Sessions that come later are served.
        """
        for session in self._sessions():
            session.freeze()

    def thaw(self) -> None:
        """Let all sessions go on."""
        for session in self._sessions():
            session.thaw()

    def drop(self) -> None:
        """Reset every connection, and wait until their ports are free."""
        for session in (sessions := self._sessions()):
            session.abort()
        self._release_silent(reset)
        _await_end(sessions)

    def disconnect(self, reason: str) -> None:
        """Send every session SSH_MSG_DISCONNECT with this text, close, and wait until their ports are free.

        A frozen session is closed without a word.
        """
        for session in (sessions := self._sessions()):
            session.leave(reason)
        _await_end(sessions)

    def rekey(self, deadline: float = 10.0) -> None:
        """Ask every session that is signed in for new keys; returns when all have them. Raises TimeoutError."""
        before = {session: session.rekeys for session in self._sessions() if session.is_signed_in}
        for session in before:
            session.request_rekey()
        self._policy.ledger.wait_for(
            lambda: all(s.rekeys > count or not s.is_signed_in for s, count in before.items()), deadline
        )

    # forwards

    def refuse_forward(self, why: str) -> None:
        """Refuse every tcpip-forward: "busy" without a word, "not_permitted" after MSG_DEBUG, as sshd does.

        Raises ValueError for anything else.
        """
        if why not in REFUSALS:
            raise ValueError(f"{why!r} is neither 'busy' nor 'not_permitted'")
        self._policy.forwards_refused = REFUSALS[why]

    def allow_forward(self) -> None:
        """End `refuse_forward`."""
        self._policy.forwards_refused = None

    def hold_port(self, port: int) -> None:
        """Make the port busy, as the listener of a dead session does; connections to it are never answered."""
        with self._lock:
            if port in self._holders:
                return
            self._holders[port] = None
            with contextlib.suppress(OSError):  # a session listens there: its next request finds the port held
                self._holders[port] = listening_socket("127.0.0.1", port)
            self._policy.held_ports |= {port}

    def free_port(self, port: int) -> None:
        """End `hold_port`."""
        with self._lock:
            self._policy.held_ports -= {port}
            holder = self._holders.pop(port, None)
        if holder is not None:
            holder.close()

    # keys

    def revoke(self, key: PublicKey) -> None:
        """Refuse the key's sign-ins from now on; sessions that live go on, as with authorized_keys."""
        with self._lock:
            self._policy.revoked |= {key.blob}

    def restore(self, key: PublicKey) -> None:
        """End `revoke`."""
        with self._lock:
            self._policy.revoked -= {key.blob}

    def swap_host_key(self) -> HostKey:
        """Show a fresh host key, to new sessions and at the next key exchange of those that live."""
        self._policy.host_key = fresh = HostKey.generate()
        return fresh

    def restore_host_key(self) -> None:
        """Show the first host key again."""
        self._policy.host_key = self._own_host_key

    # before the banner

    def banner_silence(self) -> None:
        """Accept new connections and say nothing."""
        self._silence, self._line = True, None

    def turn_away(self, line: bytes) -> None:
        r"""Say `line` (b"Exceeded MaxStartups\r\n", b"Not allowed at this time\r\n") to new connections and close.

        Raises ValueError if it is longer than RFC 4253 §4.2 allows.
        """
        if len(line) > LINE_LIMIT:
            raise ValueError(f"line has more than {LINE_LIMIT} bytes")
        self._silence, self._line = False, line

    def welcome(self) -> None:
        """End `banner_silence` and `turn_away`; connections that met silence are closed."""
        self._silence, self._line = False, None
        self._release_silent()

    def intercepts(self, sock: socket.socket) -> bool:
        """Do to a new connection what these two demand; False if it is to be served."""
        line = self._line
        if self._silence:
            with self._lock:
                self._silent.append(sock)
            return True
        if line is None:
            return False
        with contextlib.suppress(OSError):  # the client is gone
            sock.sendall(line)
        sock.close()
        return True

    def release_all(self) -> None:
        """Let go of every socket and port that the faults hold; for the jumphost's end."""
        self._release_silent()
        for port in list(self._holders):
            self.free_port(port)

    def _release_silent(self, close: Callable[[socket.socket], None] = socket.socket.close) -> None:
        with self._lock:
            silent, self._silent = self._silent, []
        for sock in silent:
            close(sock)


def _await_end(sessions: list[Session]) -> None:
    ends = time.monotonic() + JOIN_DEADLINE
    for session in sessions:
        session.join(max(0.0, ends - time.monotonic()))
