"""One forwarded connection: a socket to the target, and its channel on the wire.

Theory of operation. Outbound bytes are read straight into the outbound frames and sealed there, so nothing that was
read is ever held here; what cannot be sent is not read. Inbound bytes are gathered as views of the inbound batch and
written to the socket in one call when the batch is over; only what the socket does not take is copied, into
`pending`, and that is bounded by the channel's window.

Belongs to the loop's thread.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Protocol

from ioconnect.ssh.channel import PACKET_SIZE, Due
from ioconnect.ssh.loop import BROKEN, READ, WRITE
from ioconnect.ssh.messages import MSG_CLOSE, MSG_EOF, about_channel, window_adjust

if TYPE_CHECKING:
    from ioconnect.ssh.channel import Channel
    from ioconnect.ssh.loop import Loop
    from ioconnect.ssh.messages import Origin
    from ioconnect.ssh.outbound import Outbound
    from ioconnect.ssh.send_window import Parking

_MESSAGES = {Due.EOF: MSG_EOF, Due.CLOSE: MSG_CLOSE}
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER, 0 s: close(2) sends RST
MOST_PIECES = 64  # of one sendmsg; well below IOV_MAX


def reset(sock: socket.socket) -> None:
    """Close so that the peer sees a reset: a stream that was cut must not look complete."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    sock.close()


class Owner(Protocol):
    """What a connection needs of the relay that it belongs to."""

    loop: Loop
    outbound: Outbound
    parking: Parking

    def carried_out(self, count: int) -> None:
        """Count bytes from the target."""

    def carried_in(self, count: int) -> None:
        """Count bytes to the target."""

    def ended(self, connection: Connection) -> None:
        """Take note that the target's socket is closed."""


class Connection:
    """A channel joined to its target's connected socket."""

    __slots__ = (
        "_fd",
        "_outbound",
        "_parked",
        "_said_all",
        "_sock",
        "_wide",
        "began",
        "channel",
        "from_target",
        "gathered",
        "inbound_done",
        "origin",
        "pending",
        "relay",
        "to_target",
        "why",
    )

    def __init__(self, relay: Owner, channel: Channel, sock: socket.socket, origin: Origin) -> None:
        self.relay = relay
        self.channel = channel
        self.origin = origin
        self.began = relay.loop.now
        self._outbound = relay.outbound
        self._sock = sock
        self._fd = sock.fileno()
        self._wide = False  # the last read filled a frame: read a batch
        self._parked = False  # not read, as enough is under way to the jumphost
        self._said_all = False  # the target's EOF was read
        self.gathered: list[memoryview] = []
        self.pending = bytearray()
        self.inbound_done = False
        self.from_target = self.to_target = 0
        self.why = ""
        relay.loop.watch(self._fd, READ, self.ready)

    def ready(self, mask: int) -> None:
        """The loop's call: the socket can be read or written, or is broken."""
        if mask & WRITE and self.pending:
            self._drain()
        if mask & (READ | BROKEN) and self.open:
            self._pump()

    @property
    def open(self) -> bool:
        """The target's socket is still in use."""
        return self._fd >= 0

    # outbound: target → wire

    def _pump(self) -> None:
        outbound, channel = self._outbound, self.channel
        limit = channel.sendable()
        if not limit:
            if channel.close_sent:
                self._talks_to_nobody()
            else:
                self._rewatch()
            return
        if outbound.congested:
            return  # the loop serves writers only until it is not
        if self._wide and self.relay.parking.wanted:
            self._parked = True
            self.relay.parking.park(self)
            self._rewatch()
            return
        packet = channel.peer_packet
        try:
            if self._wide:
                count = self._sock.recvmsg_into(outbound.slots(limit, packet, wide=True))[0]
            elif limit >= PACKET_SIZE and packet >= PACKET_SIZE:
                count = self._sock.recv_into(outbound.first_slot)
            else:
                count = self._sock.recv_into(outbound.slots(limit, packet, wide=False)[0])
        except BlockingIOError:
            return
        except OSError as error:
            self.why = f"target: {error.strerror}"
            channel.target_broken()
            self.settle()
            return
        if not count:
            self._said_all = True
            channel.target_ended()
            self.settle()
            return
        self._wide = count >= PACKET_SIZE
        channel.sent(count)
        self.from_target += count
        self.relay.carried_out(count)
        outbound.send_data(channel.peer_id, count, packet)

    def _talks_to_nobody(self) -> None:
        """Answer as TCP does when the other side has closed: a target that wants to say more gets a reset.

        Otherwise one that reads nothing before its own bytes are taken would be kept for ever.
        """
        try:
            self._said_all = not self._sock.recv_into(self._outbound.first_slot)
        except BlockingIOError:
            return
        except OSError as error:
            self.why = f"target: {error.strerror}"
        if self._said_all:
            self._rewatch()
        else:
            self.why = self.why or "the other side closed"
            self.channel.target_broken()
            self.settle()

    # inbound: wire → target

    def deliver(self) -> None:
        """The batch is over: write what it brought to the target."""
        pieces, self.gathered = self.gathered, []
        while pieces and not self.pending:
            batch = pieces[:MOST_PIECES]
            count = self._write(batch)
            if count < 0:
                break
            written = 0
            while written < len(batch) and count >= len(batch[written]):
                count -= len(batch[written])
                written += 1
            if written < len(batch):
                self.pending += batch[written][count:]
                written += 1
            del pieces[:written]
        for piece in pieces:
            self.pending += piece
        if self.pending or self.channel.eof_received or self.channel.target_gone:
            self.settle()

    def _drain(self) -> None:
        with memoryview(self.pending) as pending:  # released, or the bytearray could not shrink
            count = self._write([pending])
        if count > 0:
            del self.pending[:count]
        self.settle()

    def _write(self, pieces: list[memoryview]) -> int:
        """Write and account for it; return how much, -1 if the target is gone."""
        try:
            count = self._sock.sendmsg(pieces) if len(pieces) > 1 else self._sock.send(pieces[0])
        except BlockingIOError:
            return 0
        except OSError as error:
            self.why = f"target: {error.strerror}"
            self.channel.target_broken()
            return -1
        self.to_target += count
        relay = self.relay
        relay.carried_in(count)
        adjust = self.channel.delivered(count, relay.loop.now, relay.parking.round_trip)
        if adjust:
            self._outbound.queue(window_adjust(self.channel.peer_id, adjust))
        return count

    # the end

    def settle(self) -> None:
        """Do what the channel's state now asks for: shut, send what is due, watch, or end."""
        channel = self.channel
        if channel.target_gone:
            self.pending.clear()
        elif channel.eof_received and not self.inbound_done and not self.pending and not self.gathered:
            self.inbound_done = True
            with contextlib.suppress(OSError):  # it is gone: reading will tell
                self._sock.shutdown(socket.SHUT_WR)
        for message in channel.due(inbound_done=self.inbound_done):
            self._outbound.queue(about_channel(_MESSAGES[message], channel.peer_id))
        if not channel.close_sent:
            self._rewatch()
        elif self.pending and channel.eof_received:
            self._rewatch()  # closed on the wire, but what was received before is still to be delivered
        else:
            self._end()

    def _rewatch(self) -> None:
        if not self.open:
            return  # only the peer's CLOSE is still awaited
        channel = self.channel
        if channel.close_sent:
            mask = 0 if self._said_all else READ
        else:
            mask = READ if channel.sendable() and not self._parked else 0
        if self.pending:
            mask |= WRITE
        self.relay.loop.watch(self._fd, mask, self.ready)

    def window_opened(self) -> None:
        """The peer's WINDOW_ADJUST was taken: read again."""
        self._rewatch()

    def unpark(self) -> None:
        """Read again: there is room in the flight."""
        self._parked = False
        self._rewatch()

    def _end(self) -> None:
        """The target's socket has nothing more to do."""
        if self._fd < 0:
            return
        self.relay.loop.closing(self._fd)
        self._fd = -1
        if self.inbound_done and not self.channel.target_gone:
            self._sock.close()
        else:
            reset(self._sock)
        self.relay.ended(self)

    def cut(self) -> None:
        """The session is over: reset the target's socket."""
        self.channel.target_broken()
        self.channel.close_sent = True
        self.why = self.why or "session over"
        self._end()
