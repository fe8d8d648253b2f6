"""What a signed-in session may do: ask for ports, and carry the connections that arrive there (RFC 4254 §5, §7).

`receivers` run on paramiko's reading thread; `accepted` runs on the accepting thread of one forward.
"""

from __future__ import annotations

import itertools
import threading
from functools import partial
from typing import TYPE_CHECKING

from paramiko import common

from ioconnect.escape import escaped
from ioconnect.stub.channel import Channel, ProtocolViolation
from ioconnect.stub.connection import Connection
from ioconnect.stub.listener import Listener

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from paramiko.message import Message

    from ioconnect.stub.jumphost import Jumphost
    from ioconnect.stub.session import Session

MAX_CONNECTIONS = 2048  # of one session; the next ones are closed at once
JOIN_DEADLINE = 5.0  # seconds for a connection's threads to end once the session has
FIRST_UNKNOWN = common.MSG_CHANNEL_SUCCESS  # answers to channel requests, which we never make, and all above
LISTEN_HOST = "127.0.0.1"  # as sshd without GatewayPorts


class Forwarding:
    """The forwards and connections of one session."""

    def __init__(self, session: Session, jumphost: Jumphost) -> None:
        self._session = session
        self._jumphost = jumphost
        self._ledger = jumphost.ledger
        self._lock = threading.Lock()  # guards the two tables and `_ended`
        self._connections: dict[int, Connection] = {}
        self._forwards: dict[int, Listener] = {}
        self._ended = False

    def listens_on(self, port: int) -> bool:
        """Whether this session has that forward."""
        with self._lock:
            return port in self._forwards

    def connection_from(self, origin: tuple[str, int]) -> Connection | None:
        """Return the connection that this TCP peer has opened, if it is still there."""
        with self._lock:
            return next((each for each in self._connections.values() if each.origin == origin), None)

    @property
    def open_channels(self) -> int:
        """How many channel numbers are in use."""
        with self._lock:
            return len(self._connections)

    def end(self) -> None:
        """Free every port, then reset and forget every connection."""
        with self._lock:
            self._ended = True
            forwards, connections = list(self._forwards.values()), list(self._connections.values())
        for listener in forwards:
            listener.close()
        for connection in connections:
            connection.channel.on_session_end()
        for connection in connections:
            connection.join(JOIN_DEADLINE)
        with self._lock:
            self._forwards.clear()
            self._connections.clear()
        self._ledger.stir()

    def connection_ended(self, connection: Connection) -> None:
        """Forget a connection once its number may be used again."""
        number = connection.channel.number
        if connection.channel.over:
            with self._lock:
                if self._connections.get(number) is connection:  # two threads may come here
                    del self._connections[number]
            self._ledger.stir()

    # the accepting threads

    def accepted(self, bound: tuple[str, int], sock: socket.socket, origin: tuple[str, int]) -> None:
        """Give a connection that arrived on an allocated port a channel."""
        self._session.wire.wait_thawed()
        with self._lock:
            if self._ended or len(self._connections) >= MAX_CONNECTIONS:
                sock.close()
                return
            number = next(n for n in itertools.count() if n not in self._connections)  # reused soon, as sshd does
            try:
                connection = Connection(self._session, self, number, sock, origin, bound)
            except OSError:  # reset before it was looked at; macOS then refuses socket options
                sock.close()
                return
            self._connections[number] = connection
        self._ledger.note("channels")
        connection.start()

    # the reading thread

    def receivers(self) -> dict[int, Callable[[Message], None]]:
        """Return what to call for which message number."""
        return {
            **dict.fromkeys(range(FIRST_UNKNOWN, 256), self._on_unknown),
            common.MSG_GLOBAL_REQUEST: self._on_global_request,
            common.MSG_CHANNEL_OPEN: self._on_channel_open,
            common.MSG_CHANNEL_OPEN_SUCCESS: self._to_channel(
                lambda c, m: c.on_confirmation(m.get_int(), m.get_int(), m.get_int())
            ),
            common.MSG_CHANNEL_OPEN_FAILURE: self._to_connection(self._on_open_failure),
            common.MSG_CHANNEL_WINDOW_ADJUST: self._to_channel(lambda c, m: c.on_window_adjust(m.get_int())),
            common.MSG_CHANNEL_DATA: self._to_channel(lambda c, m: c.on_data(m.get_binary())),
            common.MSG_CHANNEL_EXTENDED_DATA: self._to_channel(lambda c, _: c.on_extended_data()),
            common.MSG_CHANNEL_EOF: self._to_channel(lambda c, _: c.on_eof()),
            common.MSG_CHANNEL_CLOSE: self._to_connection(self._on_close),
            common.MSG_CHANNEL_REQUEST: self._to_connection(self._on_channel_request),
        }

    def _to_channel(self, act: Callable[[Channel, Message], None]) -> Callable[[Message], None]:
        return self._to_connection(lambda connection, m: act(connection.channel, m))

    def _to_connection(self, act: Callable[[Connection, Message], None]) -> Callable[[Message], None]:
        def receive(m: Message) -> None:
            number = m.get_int()
            with self._lock:
                connection = self._connections.get(number)
            try:
                if connection is None:
                    raise ProtocolViolation(f"packet referred to nonexistent channel {number}")  # noqa: TRY301  one way out
                act(connection, m)
            except ProtocolViolation as violation:
                self._session.expel(str(violation))
                raise EOFError from violation  # ends paramiko's thread without a word in its log

        return receive

    def _on_unknown(self, m: Message) -> None:
        self._session.answer(common.cMSG_UNIMPLEMENTED, m.seqno)

    def _on_channel_open(self, m: Message) -> None:
        m.get_binary()
        reason = common.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        self._session.answer(common.cMSG_CHANNEL_OPEN_FAILURE, m.get_int(), reason, "only reverse tunnels here", "")

    def _on_open_failure(self, connection: Connection, m: Message) -> None:
        self._ledger.open_failures.append((m.get_int(), escaped(m.get_binary())))
        self._ledger.note("channels_refused")
        connection.channel.on_failure()

    def _on_close(self, connection: Connection, _m: Message) -> None:
        connection.channel.on_close()
        self.connection_ended(connection)

    def _on_channel_request(self, connection: Connection, m: Message) -> None:
        m.get_binary()
        if m.get_boolean():
            self._session.answer(common.cMSG_CHANNEL_FAILURE, connection.channel.remote_number)

    def _on_global_request(self, m: Message) -> None:
        kind, want_reply = m.get_binary(), m.get_boolean()
        if kind == b"tcpip-forward":
            self._on_forward(escaped(m.get_binary()), m.get_int(), want_reply=want_reply)
            return
        granted = kind == b"cancel-tcpip-forward" and self._cancel(m)
        if want_reply:
            self._session.answer(common.cMSG_REQUEST_SUCCESS if granted else common.cMSG_REQUEST_FAILURE)
            if kind.startswith(b"keepalive@"):  # refused, as by sshd: any answer is life
                self._ledger.note("keepalives")

    def _on_forward(self, host: str, port: int, *, want_reply: bool) -> None:
        self._ledger.note("forwards_requested")
        listener = self._listen(host, port)
        if want_reply and listener is None:
            self._session.answer(common.cMSG_REQUEST_FAILURE)
        elif want_reply and listener is not None:
            self._session.answer(common.cMSG_REQUEST_SUCCESS, *([listener.port] if port == 0 else []))
        if listener is not None:  # only now: no channel may be opened before the answer
            listener.start(partial(self.accepted, (host, listener.port)))
            self._ledger.note("forwards_granted")

    def _listen(self, host: str, port: int) -> Listener | None:
        """Return the forward's listener, or None: without a word if the port is busy, else after MSG_DEBUG."""
        forbidden = self._jumphost.forbids_forward(self._session.grant, host, port)
        if forbidden is not None:
            self._session.answer(bytes([common.MSG_DEBUG]), False, forbidden, "")  # not to be displayed
            return None
        if self._jumphost.is_held(port):
            return None
        try:
            listener = Listener(LISTEN_HOST, port, name=f"stub-forward-{port}")
        except (OSError, OverflowError):  # taken, privileged, or no port at all
            return None
        with self._lock:
            self._forwards[listener.port] = listener
        return listener

    def _cancel(self, m: Message) -> bool:
        m.get_binary()
        with self._lock:
            listener = self._forwards.pop(m.get_int(), None)
        if listener is None:
            return False
        listener.close()
        self._ledger.note("forwards_cancelled")
        return True
