"""The RFC 4254 §5 channel as pure bookkeeping: two half-states, two windows, and which message is due next.

Theory of operation, after OpenSSH's nchan.c. Events (`received`, `peer_eof`, `socket_ended`, …) update the state and
do nothing else; `due` computes from the state which of EOF and CLOSE must go out, each at most once, and nothing
after CLOSE. A channel is `over` when CLOSE went both ways; only then may its id be used again.

Outbound is from our TCP socket to the peer, inbound the other way. The same class serves both roles: the one that
accepts CHANNEL_OPEN knows the peer's numbers from the start, the one that sends it learns them by `confirmed`.

Pure: no sockets, no clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ioconnect.ssh.messages import MSG_CLOSE, MSG_EOF, ProtocolViolation

if TYPE_CHECKING:
    from ioconnect.ssh.connection.in_flight import BytesInFlight
    from ioconnect.ssh.connection.window_budget import WindowBudget

MAX_WINDOW = 0xFFFFFFFF  # RFC 4254 §5.2
UNCONFIRMED = -1  # the peer's id of a channel that it has not confirmed


class Channel:
    """One forwarded connection, as far as the protocol is concerned.

    `id` is ours, `peer_id` theirs. `peer_window` and `peer_packet` bound what we may send, `window` what they may.
    """

    __slots__ = (
        "_budget",
        "_flight",
        "_round_began",
        "_round_bytes",
        "_stalls",
        "_unadjusted",
        "close_received",
        "close_sent",
        "eof_received",
        "eof_sent",
        "id",
        "in_flight",
        "outbound_ended",
        "peer_id",
        "peer_packet",
        "peer_window",
        "socket_gone",
        "undelivered",
        "window",
        "window_size",
        "written_off",
    )

    def __init__(  # noqa: PLR0917  the order of CHANNEL_OPEN
        self,
        own_id: int,
        peer_id: int,
        peer_window: int,
        peer_packet: int,
        budget: WindowBudget,
        flight: BytesInFlight,
    ) -> None:
        self.id = own_id
        self.peer_id = peer_id
        self.peer_window = peer_window
        self.peer_packet = peer_packet
        self._budget = budget
        self._flight = flight
        self.in_flight = 0  # bytes sent and not acknowledged by WINDOW_ADJUST,
        self.written_off = 0  # and those before them that no longer count as in flight
        self._stalls = flight.stalls
        self.window_size = self.window = budget.admit()
        self.undelivered = 0  # bytes received and not yet written to the socket
        self._unadjusted = 0  # bytes delivered since the last WINDOW_ADJUST
        self._round_began = 0.0
        self._round_bytes = 0
        self.outbound_ended = False  # the socket will bring nothing more
        self.socket_gone = False  # nothing more can be delivered
        self.eof_sent = self.eof_received = False
        self.close_sent = self.close_received = False

    def confirmed(self, peer_id: int, peer_window: int, peer_packet: int) -> None:
        """CHANNEL_OPEN_CONFIRMATION of a channel that we opened came (§5.1)."""
        self.peer_id = peer_id
        self.peer_window = peer_window
        self.peer_packet = peer_packet

    # outbound

    def sendable(self) -> int:
        """How many bytes may be read from the socket and sent now."""
        return 0 if self.outbound_ended or self.close_sent else self.peer_window

    def sent(self, count: int) -> None:
        """`count` bytes went out as DATA."""
        assert count <= self.peer_window
        if self._stalls != self._flight.stalls:
            self._write_off()
        self.peer_window -= count
        self.in_flight += count
        self._flight.size += count

    def peer_adjusted(self, count: int) -> None:
        """WINDOW_ADJUST came. Raises ProtocolViolation beyond 2³²-1."""
        if self.peer_window + count > MAX_WINDOW:
            raise ProtocolViolation(
                f"channel {self.id}: WINDOW_ADJUST of {count} overflows to a window beyond 2^32-1"
            )
        self.peer_window += count
        if self._stalls != self._flight.stalls:
            self._write_off()
        if self.written_off:  # the peer acknowledges in order
            old = min(count, self.written_off)
            self.written_off -= old
            count -= old
        acknowledged = min(count, self.in_flight)
        self.in_flight -= acknowledged
        self._flight.size -= acknowledged

    def _write_off(self) -> None:
        """Take note of a stall (see BytesInFlight): the session's count is without our bytes since then."""
        self._stalls = self._flight.stalls
        self.written_off += self.in_flight
        self.in_flight = 0

    def socket_ended(self) -> None:
        """The socket brings nothing more (its EOF); it may still take."""
        self.outbound_ended = True

    def socket_broken(self) -> None:
        """The socket is gone, or must be: the channel ends without an EOF, so it does not look complete."""
        self.outbound_ended = self.socket_gone = True

    # inbound

    def received(self, count: int) -> bool:
        """DATA came; say whether it is to be delivered. Raises ProtocolViolation if it exceeds the window."""
        if count > self.window:
            raise ProtocolViolation(
                f"channel {self.id}: {count} bytes of data beyond the window: that window is {self.window}"
            )
        self.window -= count
        if self.socket_gone or self.close_sent or self.eof_received:  # as OpenSSH: data after the end is ignored
            return False
        self.undelivered += count
        return True

    def delivered(self, count: int, now: float, round_trip: float) -> int:
        """`count` bytes were written to the socket at `now`; return the WINDOW_ADJUST that is due, 0 for none yet.

        The window grows while the reader takes more than half of it in a round trip (seconds), as the bandwidth of a
        long link is the window over the round trip; it shrinks when the budget runs low.
        """
        self.undelivered -= count
        self._unadjusted += count
        self._round_bytes += count
        # As OpenSSH does: not for every packet, but well before the peer runs dry.
        if self._unadjusted < self.window_size // 4 or self.eof_received or self.close_sent:
            return 0
        self._resize(now, round_trip)
        self._unadjusted = 0
        give = self.window_size - self.window - self.undelivered
        if give <= 0:  # shrinking: this much is not given back
            return 0
        self.window += give
        return give

    def _resize(self, now: float, round_trip: float) -> None:
        if now - self._round_began >= round_trip:
            taken, self._round_bytes = self._round_bytes, 0
            slow = now - self._round_began > 2 * round_trip
            self._round_began = now
            if slow:
                self.window_size = self._budget.shrink(self.window_size)
                return
            if 2 * taken > self.window_size:
                self.window_size = self._budget.grow(self.window_size)

    def peer_eof(self) -> None:
        """EOF came: what is undelivered is still to be written, then the socket's write side is shut."""
        self.eof_received = True

    def peer_closed(self) -> None:
        """CLOSE came: the peer takes and sends nothing more."""
        self.close_received = self.outbound_ended = True

    # what goes out

    def due(self, *, inbound_done: bool) -> tuple[int, ...]:
        """Return which of MSG_EOF and MSG_CLOSE must go out now, in order, and count them as sent.

        `inbound_done` says that all that was received has been written to the socket, and its write side is shut.
        """
        if self.close_sent:
            return ()
        if self.socket_gone or self.close_received:
            self.close_sent = True
            return (MSG_CLOSE,)
        messages: tuple[int, ...] = ()
        if self.outbound_ended and not self.eof_sent:
            self.eof_sent = True
            messages = (MSG_EOF,)
        if self.eof_sent and self.eof_received and inbound_done:
            self.close_sent = True
            messages += (MSG_CLOSE,)
        return messages

    @property
    def over(self) -> bool:
        """CLOSE went both ways: the id is free."""
        return self.close_sent and self.close_received

    def release(self) -> None:
        """Give back what this channel holds of budget and flight; once, when it is over or its session is."""
        self._budget.release(self.window_size)
        if self._stalls == self._flight.stalls:
            self._flight.size -= self.in_flight
