"""The connection protocol (RFC 4254) of one session, for either role: its channels, and the messages about them.

Theory of operation. The packetizer calls `receive` for each message of the connection protocol while it parses a
batch, and `end_batch` when no complete packet is left: then the gathered data is written to the sockets, and the
answers are sent in one call. An error of one connection ends that connection, never the session; only a
ProtocolViolation ends the session.

A role is a subclass: the agent's (a CHANNEL_OPEN arrives, connect, confirm) or the jumphost's (a TCP connection
arrives, CHANNEL_OPEN, confirmed or refused; tcpip-forward and its cancellation). Belongs to the loop's thread.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ioconnect.escape import escaped
from ioconnect.ssh import messages as ssh
from ioconnect.ssh.connection.in_flight import BytesInFlight, InFlightQueue
from ioconnect.ssh.connection.window_budget import WindowBudget
from ioconnect.ssh.messages import U32_PAIR, U32_PAIR_SIZE, ProtocolViolation, Reader
from ioconnect.ssh.outbound import BATCH

if TYPE_CHECKING:
    from collections.abc import Callable

    from ioconnect.ssh.connection.forwarded_connection import Connection
    from ioconnect.ssh.loop import Loop
    from ioconnect.ssh.outbound import Outbound

log = logging.getLogger(__name__)


class Multiplexer:
    """All channels of one session; `window_budget` bounds their receive windows together, in bytes."""

    def __init__(self, *, outbound: Outbound, loop: Loop, window_budget: int, max_channels: int) -> None:
        self.outbound = outbound
        self.loop = loop
        self.budget = WindowBudget(window_budget, max_channels)
        self.in_flight_queue = InFlightQueue(BytesInFlight(), loop, batch=BATCH)
        self.connections: dict[int, Connection] = {}  # by our channel number, until the peer's CLOSE
        self._draining: set[Connection] = set()  # closed by the peer, bytes still on their way to the socket
        self._gathering: list[Connection] = []
        self._free_ids: list[int] = []
        self._next_id = 0
        self._receivers: dict[int, Callable[[memoryview], None]] = {
            ssh.MSG_GLOBAL_REQUEST: self._global_request,
            ssh.MSG_REQUEST_SUCCESS: lambda _body: self.request_answered(granted=True),
            ssh.MSG_REQUEST_FAILURE: lambda _body: self.request_answered(granted=False),
            ssh.MSG_CHANNEL_OPEN: self.open_requested,
            ssh.MSG_OPEN_CONFIRMATION: self.open_confirmed,
            ssh.MSG_OPEN_FAILURE: self.open_refused,
            ssh.MSG_WINDOW_ADJUST: self._window_adjust,
            ssh.MSG_DATA: self._data,
            ssh.MSG_EXTENDED_DATA: self.extended_data,
            ssh.MSG_EOF: self._eof,
            ssh.MSG_CLOSE: self._close,
            ssh.MSG_CHANNEL_REQUEST: self._channel_request,
            ssh.MSG_CHANNEL_SUCCESS: self.channel_answered,
            ssh.MSG_CHANNEL_FAILURE: self.channel_answered,
        }

    # --- what a role decides

    def open_requested(self, body: memoryview) -> None:
        """CHANNEL_OPEN came; `body` is the message without its type, here and below."""
        raise NotImplementedError

    def open_confirmed(self, _body: memoryview) -> None:
        """CHANNEL_OPEN_CONFIRMATION came. Raises ProtocolViolation for a channel that waits for none."""
        raise ProtocolViolation("an answer to a channel that was never opened")

    def open_refused(self, _body: memoryview) -> None:
        """CHANNEL_OPEN_FAILURE came. Raises ProtocolViolation for a channel that waits for none."""
        raise ProtocolViolation("an answer to a channel that was never opened")

    def global_request(self, name: bytes, _arguments: Reader, *, want_reply: bool) -> None:
        """A GLOBAL_REQUEST came: refuse it, which answers a keepalive too."""
        if want_reply:
            self.outbound.queue(bytes((ssh.MSG_REQUEST_FAILURE,)))
        log.debug("global request %s", escaped(name))

    def request_answered(self, *, granted: bool) -> None:
        """REQUEST_SUCCESS or REQUEST_FAILURE came. Raises ProtocolViolation if nothing was asked."""
        raise ProtocolViolation(f"an answer to nothing (granted: {granted})")

    def channel_answered(self, body: memoryview) -> None:
        """CHANNEL_SUCCESS or CHANNEL_FAILURE came, though we make no channel requests."""

    def unknown_channel(self, number: int) -> None:
        """Something came for a channel that is not open: ignored, as its CLOSE may have crossed it."""

    def extended_data(self, body: memoryview) -> None:
        """EXTENDED_DATA came, which no forwarded-tcpip channel has (§5.2): counted against the window and dropped."""
        reader = Reader(body)
        connection = self._connection(reader)
        reader.u32()
        length = len(reader.string())
        if connection is not None and connection.channel.received(length):
            connection.channel.undelivered -= length

    def bytes_read(self, count: int) -> None:
        """Count bytes that were read from a socket and sent."""

    def bytes_written(self, count: int) -> None:
        """Count bytes that were received and written to a socket."""

    # --- messages

    def receive(self, kind: int, body: memoryview) -> bool:
        """Handle one message; see `transport.Service.receive`."""
        receiver = self._receivers.get(kind)
        if receiver is None:
            return False
        receiver(body)
        return True

    def end_batch(self) -> bool:
        """Write what the batch brought to the sockets; see `transport.Service.end_batch`."""
        if not self._gathering:
            return False
        gathering, self._gathering = self._gathering, []
        for connection in gathering:
            if connection.gathered:
                connection.deliver()
        return True

    def _data(self, body: memoryview) -> None:
        size = len(body) - U32_PAIR_SIZE
        if size < 0:
            raise ProtocolViolation("DATA without data")
        number, length = U32_PAIR.unpack_from(body)
        if length != size:
            raise ProtocolViolation(f"DATA announces {length} bytes and brings {size}")
        connection = self.connections.get(number)
        if connection is None:
            self.unknown_channel(number)
            return
        if not connection.channel.received(length) or not length:
            return
        gathered = connection.gathered
        if not gathered:
            self._gathering.append(connection)
        gathered.append(body[U32_PAIR_SIZE:])

    def _window_adjust(self, body: memoryview) -> None:
        if len(body) < U32_PAIR_SIZE:
            raise ProtocolViolation("WINDOW_ADJUST without a count")
        number, count = U32_PAIR.unpack_from(body)
        connection = self.connections.get(number)
        if connection is None:
            self.unknown_channel(number)
            return
        was = connection.channel.peer_window
        connection.channel.peer_adjusted(count)
        if not was:
            connection.window_opened()
        self.in_flight_queue.acknowledged()

    def _eof(self, body: memoryview) -> None:
        connection = self._connection(Reader(body))
        if connection is not None:
            connection.channel.peer_eof()
            if not connection.gathered:
                connection.update()

    def _close(self, body: memoryview) -> None:
        connection = self._connection(Reader(body))
        if connection is None:
            return
        if connection.gathered:
            connection.deliver()
        connection.channel.peer_closed()
        connection.update()  # sends our CLOSE, unless it went out before: the id is free again
        self.forget(connection.channel.id)
        if connection.open:
            self._draining.add(connection)
        else:
            connection.channel.release()
            self.in_flight_queue.acknowledged()

    def _channel_request(self, body: memoryview) -> None:
        reader = Reader(body)
        connection = self._connection(reader)
        reader.string()
        if reader.boolean() and connection is not None and not connection.channel.close_sent:
            # sshd's ClientAlive asks this way while a channel is open: a refusal is a sign of life too.
            self.outbound.queue(ssh.about_channel(ssh.MSG_CHANNEL_FAILURE, connection.channel.peer_id))

    def _global_request(self, body: memoryview) -> None:
        reader = Reader(body)
        name = reader.string()
        self.global_request(name, reader, want_reply=reader.boolean())

    def _connection(self, reader: Reader) -> Connection | None:
        number = reader.u32()
        connection = self.connections.get(number)
        if connection is None:
            self.unknown_channel(number)
        return connection

    # --- channels

    @property
    def open_channels(self) -> int:
        """How many channels are open or have bytes left to deliver. Any thread."""
        return len(self.connections) + len(self._draining)

    def allocate_id(self) -> int:
        """Return a free channel number of ours: one that was used before, if there is one."""
        if self._free_ids:
            return self._free_ids.pop()
        self._next_id += 1
        return self._next_id - 1

    def free_id(self, number: int) -> None:
        """Take back the number of a channel that was never opened."""
        self._free_ids.append(number)

    def forget(self, number: int) -> None:
        """Drop a channel from the table: no message names it any more, and its number is free."""
        del self.connections[number]
        self._free_ids.append(number)

    def ended(self, connection: Connection) -> None:
        """A connection's socket is closed; its channel may still wait for the peer's CLOSE."""
        if connection in self._draining:
            self._draining.remove(connection)
            connection.channel.release()
        self.in_flight_queue.acknowledged()

    def cut(self) -> None:
        """The session is over: reset every socket."""
        for connection in [*self.connections.values(), *self._draining]:
            connection.cut()
        self.connections.clear()
        for connection in self._gathering:  # views of the inbound buffer, which this ring of objects would keep
            connection.gathered.clear()
        self._gathering.clear()
