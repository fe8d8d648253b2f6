"""One forwarded connection: a TCP socket joined to a channel.

Theory of operation. Outbound bytes are read straight into the outbound frames and sealed there, so nothing that was
read is ever buffered here; what cannot be sent is not read. Inbound bytes are gathered as views of the inbound batch
and written to the socket in one call when the batch is over; only what the socket does not take is copied, into
`pending`, and that is bounded by the channel's window.

The same class serves both roles: the agent's socket leads to the target, the jumphost's to whoever connected to the
forwarded port. Belongs to the loop's thread.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Protocol

from ioconnect.ssh.loop import BROKEN, READ, WRITE
from ioconnect.ssh.messages import PACKET_SIZE, about_channel, window_adjust
from ioconnect.tcp import reset

if TYPE_CHECKING:
    from ioconnect.ssh.connection.channel import Channel
    from ioconnect.ssh.connection.in_flight import InFlightQueue
    from ioconnect.ssh.loop import Loop
    from ioconnect.ssh.messages import Origin
    from ioconnect.ssh.outbound import Outbound

MAX_PIECES = 64  # of one sendmsg; well below IOV_MAX


class Owner(Protocol):
    """What a connection needs of the session's multiplexer."""

    loop: Loop
    outbound: Outbound
    in_flight_queue: InFlightQueue

    def bytes_read(self, count: int) -> None:
        """Count bytes that were read from the socket and sent."""

    def bytes_written(self, count: int) -> None:
        """Count bytes that were received and written to the socket."""

    def ended(self, connection: Connection) -> None:
        """Take note that the connection's socket is closed."""


class Connection:
    """A channel joined to a connected socket.

    `origin` is who connected to the forwarded port, `why` what ended the connection, empty for an orderly end.
    """

    __slots__ = (
        "_bulk",
        "_fd",
        "_outbound",
        "_read_eof",
        "_sock",
        "_waiting",
        "began",
        "channel",
        "gathered",
        "inbound_done",
        "multiplexer",
        "origin",
        "pending",
        "read_count",
        "why",
        "written_count",
    )

    def __init__(self, multiplexer: Owner, channel: Channel, sock: socket.socket, origin: Origin) -> None:
        self.multiplexer = multiplexer
        self.channel = channel
        self.origin = origin
        self.began = multiplexer.loop.now
        self._outbound = multiplexer.outbound
        self._sock = sock
        self._fd = sock.fileno()
        self._bulk = False  # the last read filled a frame: read a batch
        self._waiting = False  # in the in-flight queue, so the socket is not read
        self._read_eof = False  # the socket's EOF was read
        self.gathered: list[memoryview] = []
        self.pending = bytearray()
        self.inbound_done = False
        self.read_count = self.written_count = 0
        self.why = ""
        if channel.peer_window:  # else not before the peer has confirmed, or opens its window
            self._update_watch()

    def ready(self, mask: int) -> None:
        """The loop's call: the socket can be read or written, or is broken."""
        if mask & WRITE and self.pending:
            self._drain()
        if mask & (READ | BROKEN) and self._fd >= 0:
            self._pump()

    @property
    def open(self) -> bool:
        """The socket is still in use."""
        return self._fd >= 0

    # outbound: socket → channel

    def _pump(self) -> None:
        outbound, channel = self._outbound, self.channel
        limit = channel.sendable()
        if not limit:
            if channel.close_sent:
                self._peer_is_gone()
            else:
                self._update_watch()
            return
        if outbound.congested:
            return  # the loop serves writers only until it is not
        if self._bulk and self.multiplexer.in_flight_queue.full:
            self._waiting = True
            self.multiplexer.in_flight_queue.wait(self)
            self._update_watch()
            return
        packet = channel.peer_packet
        try:
            if self._bulk:
                count = self._sock.recvmsg_into(outbound.slots(limit, packet, bulk=True))[0]
            elif limit >= PACKET_SIZE and packet >= PACKET_SIZE:
                count = self._sock.recv_into(outbound.first_slot)
            else:
                count = self._sock.recv_into(outbound.slots(limit, packet, bulk=False)[0])
        except BlockingIOError:
            return
        except OSError as error:
            self.why = f"target: {error.strerror}"
            channel.socket_broken()
            self.update()
            return
        if not count:
            self._read_eof = True
            channel.socket_ended()
            self.update()
            return
        self._bulk = count >= PACKET_SIZE
        channel.sent(count)
        self.read_count += count
        self.multiplexer.bytes_read(count)
        outbound.send_data(channel.peer_id, count, packet)

    def _peer_is_gone(self) -> None:
        """Answer as TCP does once our CLOSE is out: a socket that brings more gets a reset.

        Otherwise a socket that only sends, and never reads our EOF, would stay open for ever.
        """
        try:
            self._read_eof = not self._sock.recv_into(self._outbound.first_slot)
        except BlockingIOError:
            return
        except OSError as error:
            self.why = f"target: {error.strerror}"
        if self._read_eof:
            self._update_watch()
        else:
            self.why = self.why or "the other side closed"
            self.channel.socket_broken()
            self.update()

    # inbound: channel → socket

    def deliver(self) -> None:
        """Write what the batch brought to the socket."""
        pieces, self.gathered = self.gathered, []
        while pieces and not self.pending:
            batch = pieces[:MAX_PIECES]
            count = self._write(batch)
            if count < 0:
                break
            written = 0
            for piece in batch:
                written += 1
                count -= len(piece)
                if count < 0:
                    self.pending += piece[count:]
                    break
            del pieces[:written]
        for piece in pieces:
            self.pending += piece
        if self.pending or self.channel.eof_received or self.channel.socket_gone:
            self.update()

    def _drain(self) -> None:
        with memoryview(self.pending) as pending:  # an exported buffer would keep the bytearray from shrinking
            count = self._write([pending])
        if count > 0:
            del self.pending[:count]
        self.update()

    def _write(self, pieces: list[memoryview]) -> int:
        """Write and account for it; return how much, -1 if the socket is gone."""
        try:
            count = self._sock.sendmsg(pieces) if len(pieces) > 1 else self._sock.send(pieces[0])
        except BlockingIOError:
            return 0
        except OSError as error:
            self.why = f"target: {error.strerror}"
            self.channel.socket_broken()
            return -1
        self.written_count += count
        multiplexer = self.multiplexer
        multiplexer.bytes_written(count)
        adjust = self.channel.delivered(count, multiplexer.loop.now, multiplexer.in_flight_queue.round_trip)
        if adjust:
            self._outbound.queue(window_adjust(self.channel.peer_id, adjust))
        return count

    # the end

    def update(self) -> None:
        """Do what the channel's state now asks for: shut, send what is due, watch, or end."""
        channel = self.channel
        if channel.socket_gone:
            self.pending.clear()
        elif channel.eof_received and not self.inbound_done and not self.pending and not self.gathered:
            self.inbound_done = True
            with contextlib.suppress(OSError):  # it is gone: reading will tell
                self._sock.shutdown(socket.SHUT_WR)
        for message in channel.due(inbound_done=self.inbound_done):
            self._outbound.queue(about_channel(message, channel.peer_id))
        if not channel.close_sent:
            self._update_watch()
        elif self.pending and channel.eof_received:
            self._update_watch()  # the channel is closed, but what was received before is still to be delivered
        else:
            self._end()

    def _update_watch(self) -> None:
        if not self.open:
            return  # only the peer's CLOSE is still awaited
        channel = self.channel
        if channel.close_sent:
            mask = 0 if self._read_eof else READ
        else:
            mask = READ if channel.sendable() and not self._waiting else 0
        if self.pending:
            mask |= WRITE
        try:
            self.multiplexer.loop.watch(self._fd, mask, self.ready)
        except OSError as error:  # the kernel watches no more (epoll_ctl(2)): this connection ends, no other
            self.why = f"cannot watch its socket: {error.strerror}"
            channel.socket_broken()
            self.update()

    def window_opened(self) -> None:
        """The peer's WINDOW_ADJUST was taken: read again."""
        self._update_watch()

    def resume(self) -> bool:
        """Read again: there is room in the in-flight queue. Return False if the socket is closed."""
        self._waiting = False
        self._update_watch()
        return self.open

    def _end(self) -> None:
        """Close the socket: it has nothing more to do."""
        if self._fd < 0:
            return
        self.multiplexer.loop.closing(self._fd)
        self._fd = -1
        if self.inbound_done and not self.channel.socket_gone:
            self._sock.close()
        else:
            reset(self._sock)
        self.multiplexer.ended(self)

    def refuse(self) -> None:
        """The peer refused the channel: close the socket."""
        self.channel.close_sent = self.inbound_done = True
        self._end()

    def cut(self) -> None:
        """The session is over: reset the socket."""
        self.channel.socket_broken()
        self.channel.close_sent = True
        self.why = self.why or "session over"
        self._end()
