"""The connection protocol (RFC 4254) of one session: forwarded-tcpip channels joined to connections to the target.

Theory of operation. The wire hands every connection-protocol message to `take` while it parses a batch, and calls
`settle` when the batch is over: then the gathered data goes to the targets, and the answers go out in one send. An
exception in one connection is that connection's end, never the session's; only a ProtocolViolation is.

Belongs to the loop's thread.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ioconnect.agent.session.pending_connect import Opening
from ioconnect.escape import escaped
from ioconnect.ssh import messages as ssh
from ioconnect.ssh.channel import PACKET_SIZE, Budget, Channel, Flight, ProtocolViolation
from ioconnect.ssh.connection import Connection
from ioconnect.ssh.messages import U32_PAIR, U32_PAIR_SIZE, Reader
from ioconnect.ssh.send_window import Parking

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from ioconnect.agent.session.target import TargetAddresses
    from ioconnect.agent.tunnel.counters import Counters
    from ioconnect.ssh.loop import Loop
    from ioconnect.ssh.outbound import Outbound

log = logging.getLogger(__name__)


class Relay:
    """All channels of one session.

    `on_counters_changed` is called when a counter of a settled Counters changes,
    `on_reply` with success or not for each answer to a global request, in the order asked (RFC 4254 §4).
    """

    def __init__(
        self,
        *,
        outbound: Outbound,
        loop: Loop,
        target: TargetAddresses,
        listen_port: int,
        max_connections: int,
        buffer_budget: int,
        counters: Counters,
        on_counters_changed: Callable[[], None],
        on_reply: Callable[[bool], None],
    ) -> None:
        self.outbound = outbound
        self.loop = loop
        self.target = target
        self.parking = Parking(Flight(), loop)
        self.listening = False  # the jumphost granted the port
        self._listen_port = listen_port
        self._max = max_connections
        self._budget = Budget(buffer_budget, max_connections)
        self._counters = counters
        self._on_counters_changed = on_counters_changed
        self._channels: dict[int, Connection] = {}
        self._free_ids: list[int] = []
        self._next_id = 0
        self._gathering: list[Connection] = []
        self._draining: set[Connection] = set()  # over on the wire, bytes still on their way to the target
        self.openings: dict[Opening, None] = {}  # in order of their deadlines
        self._handlers: dict[int, Callable[[memoryview], None]] = {
            ssh.MSG_GLOBAL_REQUEST: self._global_request,
            ssh.MSG_REQUEST_SUCCESS: lambda _body: on_reply(True),
            ssh.MSG_REQUEST_FAILURE: lambda _body: on_reply(False),
            ssh.MSG_CHANNEL_OPEN: self._open,
            ssh.MSG_OPEN_CONFIRMATION: self._unasked,
            ssh.MSG_OPEN_FAILURE: self._unasked,
            ssh.MSG_WINDOW_ADJUST: self._window_adjust,
            ssh.MSG_DATA: self._data,
            ssh.MSG_EXTENDED_DATA: self._extended_data,
            ssh.MSG_EOF: self._eof,
            ssh.MSG_CLOSE: self._close,
            ssh.MSG_CHANNEL_REQUEST: self._channel_request,
            ssh.MSG_CHANNEL_SUCCESS: lambda _body: None,  # we make no channel requests
            ssh.MSG_CHANNEL_FAILURE: lambda _body: None,
        }

    # --- messages

    def take(self, kind: int, body: memoryview) -> bool:
        """Handle one message; see `wire.Upper.take`."""
        handler = self._handlers.get(kind)
        if handler is None:
            return False
        handler(body)
        return True

    def _data(self, body: memoryview) -> None:
        if len(body) < U32_PAIR_SIZE:
            raise ProtocolViolation("DATA without data")
        channel_id, length = U32_PAIR.unpack_from(body)
        if length != len(body) - U32_PAIR_SIZE:
            raise ProtocolViolation(f"DATA announces {length} bytes and brings {len(body) - U32_PAIR_SIZE}")
        connection = self._channels.get(channel_id)
        if connection is None:
            return
        if not connection.channel.received(length) or not length:
            return
        gathered = connection.gathered
        if not gathered:
            self._gathering.append(connection)
        gathered.append(body[U32_PAIR_SIZE:])

    def _extended_data(self, body: memoryview) -> None:
        """No forwarded-tcpip channel has any (RFC 4254 §5.2): counted against the window, and dropped."""
        reader = Reader(body)
        connection = self._channels.get(reader.u32())
        reader.u32()
        length = len(reader.string())
        if connection is not None and connection.channel.received(length):
            connection.channel.held -= length

    def _window_adjust(self, body: memoryview) -> None:
        if len(body) < U32_PAIR_SIZE:
            raise ProtocolViolation("WINDOW_ADJUST without a count")
        channel_id, count = U32_PAIR.unpack_from(body)
        connection = self._channels.get(channel_id)
        if connection is not None:
            was = connection.channel.peer_window
            connection.channel.peer_adjusted(count)
            if not was:
                connection.window_opened()
            self.parking.landed()

    def _eof(self, body: memoryview) -> None:
        connection = self._channels.get(Reader(body).u32())
        if connection is not None:
            connection.channel.peer_eof()
            if not connection.gathered:
                connection.settle()

    def _close(self, body: memoryview) -> None:
        connection = self._channels.get(Reader(body).u32())
        if connection is None:
            return
        if connection.gathered:
            connection.deliver()
        connection.channel.peer_closed()
        connection.settle()  # answers with our CLOSE, if it was not first: the id is free again
        del self._channels[connection.channel.id]
        self._free_ids.append(connection.channel.id)
        if connection.open:
            self._draining.add(connection)
        else:
            connection.channel.release()
            self.parking.landed()

    def _channel_request(self, body: memoryview) -> None:
        reader = Reader(body)
        connection = self._channels.get(reader.u32())
        reader.string()
        if reader.boolean() and connection is not None and not connection.channel.close_sent:
            # sshd's ClientAlive asks this way while a channel is open: a refusal is life too.
            self.outbound.queue(ssh.about_channel(ssh.MSG_CHANNEL_FAILURE, connection.channel.peer_id))

    def _global_request(self, body: memoryview) -> None:
        reader = Reader(body)
        name = reader.string()
        if reader.boolean():
            self.outbound.queue(bytes((ssh.MSG_REQUEST_FAILURE,)))
        log.debug("global request %s", escaped(name))

    def _unasked(self, _body: memoryview) -> None:
        raise ProtocolViolation("an answer to a channel that was never opened")

    # --- opening

    def _open(self, body: memoryview) -> None:
        reader = Reader(body)
        kind = reader.string()
        peer_id, peer_window, peer_packet = reader.u32(), reader.u32(), reader.u32()
        if kind != b"forwarded-tcpip":
            self.outbound.queue(ssh.open_failure(peer_id, ssh.UNKNOWN_TYPE, "only forwarded-tcpip"))
            return
        reader.string()
        port = reader.u32()
        origin = (reader.string(), reader.u32())
        if not self.listening or port != self._listen_port or not peer_packet:
            self.outbound.queue(ssh.open_failure(peer_id, ssh.PROHIBITED, "nothing is forwarded from there"))
            return
        if len(self._channels) + len(self._draining) + len(self.openings) >= self._max:
            self._counters.refused += 1
            self.counters_changed()
            self.outbound.queue(ssh.open_failure(peer_id, ssh.RESOURCE_SHORTAGE, "too many connections"))
            log.warning("refused a connection from %s: %d are open, the most allowed", ssh.shown(origin), self._max)
            return
        own_id = self._free_ids.pop() if self._free_ids else self._next_id
        self._next_id = max(self._next_id, own_id + 1)
        channel = Channel(own_id, peer_id, peer_window, peer_packet, self._budget, self.parking.flight)
        self._counters.total += 1
        self._counters.open += 1
        self.counters_changed()
        opening = Opening(self, channel, origin)
        self.openings[opening] = None
        opening.begin()

    def opened(self, opening: Opening, sock: socket.socket) -> None:
        """The target took the connection: confirm the channel."""
        del self.openings[opening]
        channel = opening.channel
        self.outbound.queue(ssh.confirmation(channel.peer_id, channel.id, channel.window, PACKET_SIZE))
        self._channels[channel.id] = Connection(self, channel, sock, opening.origin)

    def open_failed(self, opening: Opening, why: str) -> None:
        """No address of the target took the connection."""
        del self.openings[opening]
        self._counters.failed += 1
        self._counters.open -= 1
        self.counters_changed()
        log.warning("connection from %s failed: %s", ssh.shown(opening.origin), why)
        self.outbound.queue(ssh.open_failure(opening.channel.peer_id, ssh.CONNECT_FAILED, "Connection refused"))
        self._free_ids.append(opening.channel.id)
        opening.channel.release()

    # --- after a batch, and the end

    def settle(self) -> bool:
        """Deliver what the batch brought; see `wire.Upper.settle`."""
        if not self._gathering:
            return False
        gathering, self._gathering = self._gathering, []
        for connection in gathering:
            if connection.gathered:
                connection.deliver()
        return True

    def carried_out(self, count: int) -> None:
        """Count bytes from the target."""
        self._counters.from_target += count
        if not self._counters.changed:
            self.counters_changed()

    def carried_in(self, count: int) -> None:
        """Count bytes to the target."""
        self._counters.to_target += count
        if not self._counters.changed:
            self.counters_changed()

    def counters_changed(self) -> None:
        """Report once that a counter changed, until the supervisor looked."""
        if not self._counters.changed:
            self._counters.changed = True
            self._on_counters_changed()

    def ended(self, connection: Connection) -> None:
        """A connection's socket is closed; its channel may still wait for the peer's CLOSE."""
        self.parking.landed()
        if connection in self._draining:
            self._draining.remove(connection)
            connection.channel.release()
        self._counters.open -= 1
        self.counters_changed()
        if not log.isEnabledFor(logging.INFO):
            return
        log.info(
            "connection from %s ended after %.1f s: %d bytes from the target, %d to it%s",
            ssh.shown(connection.origin),
            self.loop.now - connection.began,
            connection.from_target,
            connection.to_target,
            f" ({connection.why})" if connection.why else "",
        )

    def expire(self, now: float) -> float:
        """Fail the openings whose time is up; return when the next one's is."""
        while self.openings:
            opening = next(iter(self.openings))
            if opening.deadline > now:
                return opening.deadline
            opening.give_up()
        return float("inf")

    def cut(self) -> None:
        """The session is over: reset every target."""
        self.listening = False
        for connection in [*self._channels.values(), *self._draining]:
            connection.cut()
        for opening in self.openings:
            opening.cut()
            self._counters.open -= 1
        self._channels.clear()
        self.openings.clear()
