"""The jumphost's role in the connection protocol: ports are asked for, and connections to them become channels.

It is stricter than sshd: what sshd forgives a client is a violation here (RFC 4254 §5, §7; RFC 4253 §7.1).
Runs on the session's loop; the read-only members may be used from any thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ioconnect.escape import escaped
from ioconnect.ssh import messages as ssh
from ioconnect.ssh.connection.channel import UNCONFIRMED, Channel
from ioconnect.ssh.connection.forwarded_connection import Connection
from ioconnect.ssh.connection.multiplexer import Multiplexer
from ioconnect.ssh.loop import READ
from ioconnect.ssh.messages import ProtocolViolation, Reader
from ioconnect.stub.listener import listening_socket
from ioconnect.tcp import send_at_once

if TYPE_CHECKING:
    import socket

    from ioconnect.keys.authorized_keys import Grant
    from ioconnect.ssh.packetizer import LoopPacketizer
    from ioconnect.stub.policy import Policy

MAX_CONNECTIONS = 2048  # of one session; the next ones are closed at once
WINDOW_BUDGET = 512 << 20  # bytes
OPEN_DEADLINE = 60.0  # seconds for the answer to CHANNEL_OPEN, else the session is over
ACCEPT_AT_ONCE = 64  # connections taken from one listener before other sockets get their turn
LISTEN_HOST = "127.0.0.1"  # as sshd without GatewayPorts


class StrictChannel(Channel):
    """A channel whose peer is held to RFC 4254 §5 to the letter."""

    __slots__ = ()

    def received(self, count: int) -> bool:
        """DATA came; see `Channel.received`."""
        if self.eof_received:
            raise ProtocolViolation(f"channel {self.id}: data after EOF")
        if count > ssh.PACKET_SIZE:
            raise ProtocolViolation(f"channel {self.id}: {count} bytes of data, {ssh.PACKET_SIZE} is the maximum")
        return super().received(count)

    def peer_eof(self) -> None:
        """EOF came; see `Channel.peer_eof`."""
        if self.eof_received:
            raise ProtocolViolation(f"channel {self.id}: a second EOF")
        super().peer_eof()

    def due(self, *, inbound_done: bool) -> tuple[int, ...]:
        """Return what must go out; as sshd, a socket that was reset is told by EOF and CLOSE."""
        messages = super().due(inbound_done=inbound_done)
        if messages == (ssh.MSG_CLOSE,) and self.socket_gone and not self.eof_sent:
            self.eof_sent = True
            return (ssh.MSG_EOF, ssh.MSG_CLOSE)
        return messages


class Forwarding(Multiplexer):
    """The forwards and connections of one session that is signed in with `grant`."""

    def __init__(self, policy: Policy, grant: Grant, packetizer: LoopPacketizer) -> None:
        super().__init__(
            outbound=packetizer.outbound,
            loop=packetizer.loop,
            window_budget=WINDOW_BUDGET,
            max_channels=MAX_CONNECTIONS,
        )
        self._policy = policy
        self._ledger = policy.ledger
        self._grant = grant
        self._packetizer = packetizer
        self._listeners: dict[int, socket.socket] = {}
        self._opening: dict[int, tuple[Connection, float]] = {}  # with the deadline of the answer, in order

    # --- any thread

    def listens_on(self, port: int) -> bool:
        """Whether this session has that forward."""
        return port in self._listeners

    def has_channel(self, origin: tuple[str, int]) -> bool:
        """Whether the client took the connection that this TCP peer opened."""
        wanted = (origin[0].encode(), origin[1])
        return any(each.origin == wanted for each in list(self.connections.values()))

    @property
    def open_channels(self) -> int:
        """How many channel numbers are in use."""
        return super().open_channels + len(self._opening)

    # --- the packetizer's service

    def advance(self) -> None:
        """Nothing is left to do when paramiko is done with a message."""

    def receive(self, kind: int, body: memoryview) -> bool:
        """Handle a message of the connection protocol, which must not come during the client's key exchange."""
        if self._packetizer.peer_in_key_exchange:
            raise ProtocolViolation(f"Expecting packet of the key exchange, got {kind}")
        return super().receive(kind, body)

    def on_timer(self, now: float) -> float:
        """End the session of a client that does not answer CHANNEL_OPEN; return when to come back."""
        for number, (_, deadline) in self._opening.items():
            if now >= deadline:
                raise ProtocolViolation(f"channel {number}: no answer to channel open")
            return min(deadline, self.in_flight_queue.expire(now))
        return self.in_flight_queue.expire(now)

    def unknown_channel(self, number: int) -> None:
        """End the session: nothing may name a channel that is not open."""
        raise ProtocolViolation(f"packet referred to nonexistent channel {number}")

    def extended_data(self, body: memoryview) -> None:
        """End the session: a forwarded connection has no extended data (RFC 4254 §5.2)."""
        raise ProtocolViolation(f"channel {Reader(body).u32()}: extended data")

    # --- forwards

    def global_request(self, name: bytes, arguments: Reader, *, want_reply: bool) -> None:
        """Listen, cease to listen, or refuse what is not known, keepalives among it: any answer is a sign of life."""
        if name == b"tcpip-forward":
            self._forward(escaped(arguments.string()), arguments.u32(), want_reply=want_reply)
        elif name == b"cancel-tcpip-forward" and self._cancel(arguments):
            if want_reply:
                self.outbound.queue(ssh.request_success())
        else:
            super().global_request(name, arguments, want_reply=want_reply)
            if want_reply and name.startswith(b"keepalive@"):
                self._ledger.note("keepalives")

    def _forward(self, host: str, port: int, *, want_reply: bool) -> None:
        self._ledger.note("forwards_requested")
        listener = self._listen(host, port)
        if listener is None:
            if want_reply:
                self.outbound.queue(bytes((ssh.MSG_REQUEST_FAILURE,)))
            return
        bound = (host, listener.getsockname()[1])
        self._listeners[bound[1]] = listener
        if want_reply:
            self.outbound.queue(ssh.request_success(bound[1] if port == 0 else None))
        self.loop.watch(listener.fileno(), READ, lambda _mask: self._accept(listener, bound))
        self._ledger.note("forwards_granted")

    def _listen(self, host: str, port: int) -> socket.socket | None:
        """Return a listening socket, or None: without a word if the port is busy, else after DEBUG."""
        forbidden = self._policy.forbids_forward(self._grant, host, port)
        if forbidden is not None:
            self.outbound.queue(ssh.debug(forbidden))
            return None
        if self._policy.is_held(port):
            return None
        try:
            return listening_socket(LISTEN_HOST, port)
        except (OSError, OverflowError):  # taken, privileged, or no port at all
            return None

    def _cancel(self, arguments: Reader) -> bool:
        arguments.string()
        listener = self._listeners.pop(arguments.u32(), None)
        if listener is None:
            return False
        self._close_listener(listener)
        self._ledger.note("forwards_cancelled")
        return True

    # --- channels

    def _accept(self, listener: socket.socket, bound: tuple[str, int]) -> None:
        for _ in range(ACCEPT_AT_ONCE):
            try:
                sock, peer = listener.accept()
            except OSError:  # nobody waits, no descriptor is left, or the connection was reset before it was accepted
                return
            if self.open_channels >= MAX_CONNECTIONS:
                sock.close()
                continue
            send_at_once(sock)
            sock.setblocking(False)
            self._open(sock, bound, (peer[0].encode(), peer[1]))

    def _open(self, sock: socket.socket, bound: tuple[str, int], origin: ssh.Origin) -> None:
        number = self.allocate_id()
        channel = StrictChannel(number, UNCONFIRMED, 0, 0, self.budget, self.in_flight_queue.in_flight)
        deadline = self.loop.now + OPEN_DEADLINE
        self._opening[number] = (Connection(self, channel, sock, origin), deadline)
        self.loop.next_timer = min(self.loop.next_timer, deadline)
        self.outbound.queue(ssh.channel_open(number, channel.window, ssh.PACKET_SIZE, bound, origin))
        self._ledger.note("channels")

    def open_requested(self, body: memoryview) -> None:
        """Refuse: a client opens no channels here."""
        reader = Reader(body)
        reader.string()
        self.outbound.queue(ssh.open_failure(reader.u32(), ssh.PROHIBITED, "only reverse tunnels here"))

    def open_confirmed(self, body: memoryview) -> None:
        """Begin to carry the connection that the client took."""
        reader = Reader(body)
        connection = self._answered(reader)
        peer_id, window, packet = reader.u32(), reader.u32(), reader.u32()
        if not packet:
            raise ProtocolViolation(f"channel {connection.channel.id}: maximum packet size 0")
        connection.channel.confirmed(peer_id, window, packet)
        self.connections[connection.channel.id] = connection
        connection.window_opened()

    def open_refused(self, body: memoryview) -> None:
        """Close the connection that the client did not take."""
        reader = Reader(body)
        connection = self._answered(reader)
        self._ledger.open_failures.append((reader.u32(), escaped(reader.string())))
        self._ledger.note("channels_refused")
        self.free_id(connection.channel.id)
        connection.refuse()
        connection.channel.release()

    def _answered(self, reader: Reader) -> Connection:
        number = reader.u32()
        if number in self.connections:
            raise ProtocolViolation(f"channel {number}: a second answer to channel open")
        if number not in self._opening:
            self.unknown_channel(number)
        return self._opening.pop(number)[0]

    def channel_answered(self, body: memoryview) -> None:
        """End the session: no channel request was made."""
        raise ProtocolViolation(f"an answer to no channel request, on channel {Reader(body).u32()}")

    def forget(self, number: int) -> None:
        """Drop a channel from the table, and tell those who wait for that."""
        super().forget(number)
        self._ledger.stir()

    def ended(self, connection: Connection) -> None:
        """Take note of a connection whose socket is closed."""
        super().ended(connection)
        self._ledger.stir()

    # --- the end

    def cut(self) -> None:
        """The session is over: free every port, then reset every connection."""
        for listener in self._listeners.values():
            self._close_listener(listener)
        self._listeners.clear()
        super().cut()
        for connection, _ in self._opening.values():
            connection.cut()
        self._opening.clear()
        self._ledger.stir()

    def _close_listener(self, listener: socket.socket) -> None:
        self.loop.unwatch(listener.fileno())
        listener.close()
