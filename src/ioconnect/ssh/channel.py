"""The RFC 4254 §5 channel as pure bookkeeping: two half-states, two windows, and which message is due next.

Theory of operation, after OpenSSH's nchan.c. Events (`received`, `peer_eof`, `target_ended`, …) update the state and
do nothing else; `due` computes from the state which of EOF and CLOSE must go out, each at most once, and nothing
after CLOSE. A channel is `over` when CLOSE went both ways; only then may its id be used again.

Outbound is from the target (the database) to the jumphost, inbound the other way.

Pure: no sockets, no clock.
"""

from __future__ import annotations

from enum import Enum

MAX_WINDOW = 0xFFFFFFFF  # RFC 4254 §5.2
PACKET_SIZE = 32 * 1024  # largest data we take in one message; OpenSSH's CHAN_TCP_PACKET_DEFAULT
LARGEST_START = 2 << 20  # bytes; OpenSSH's CHAN_TCP_WINDOW_DEFAULT
SMALLEST_WINDOW = 2 * PACKET_SIZE
LEAST_FLIGHT = 1 << 20  # bytes; enough to keep a jumphost that is near busy
FASTEST_LINK = 1 << 30  # bytes per second that a link is trusted to carry


class ProtocolViolation(Exception):
    """The jumphost broke the SSH protocol; the session cannot go on."""


class Due(Enum):
    """A control message that a channel owes."""

    EOF = "eof"
    CLOSE = "close"


class Budget:
    """What the windows of all channels of one tunnel may add up to, in bytes.

    Every connection that may still come keeps its smallest window reserved, so the sum holds whatever happens,
    as long as `total` is at least `most` such windows; a smaller total is taken as that.
    """

    __slots__ = ("_start", "granted", "most", "total", "users")

    def __init__(self, total: int, most: int) -> None:
        self.total = max(total, most * SMALLEST_WINDOW)
        self.most = most
        self.granted = 0
        self.users = 0
        self._start = LARGEST_START

    def _free(self) -> int:
        return self.total - self.granted - max(0, self.most - self.users) * SMALLEST_WINDOW

    def admit(self) -> int:
        """Grant a new channel's first window: less of it the less there is."""
        self.users += 1
        window = min(self._start, SMALLEST_WINDOW + max(0, self._free()) // 4)
        self.granted += window
        return window

    def grow(self, window: int) -> int:
        """Return the size a channel's window may grow to from `window`, and book it."""
        more = min(window, max(0, self._free()) // 2)
        self.granted += more
        self._start = max(self._start, window + more)  # they share the link: the next one starts where this one got
        return window + more

    def shrink(self, window: int) -> int:
        """Return the size a window must go down to when there is little left, and book it."""
        if window <= SMALLEST_WINDOW or self._free() >= self.total // 8:
            return window
        smaller = max(SMALLEST_WINDOW, window - window // 4)
        self.granted -= window - smaller
        return smaller

    def release(self, window: int) -> None:
        """Take back what a channel that is over held."""
        self.users -= 1
        self.granted -= window


class Flight:
    """What the channels of one link have under way to the jumphost, in bytes: sent, and not yet given back by it.

    All of it stands in line before the next small answer. So bulk transfers together get no more than keeps the link
    busy, which is its round trip's worth; windows alone would allow megabytes for each of them.
    """

    __slots__ = ("limit", "size")

    def __init__(self) -> None:
        self.size = 0
        self.limit = LEAST_FLIGHT

    def measured(self, round_trip: float) -> None:
        """Learn the link's round trip, in seconds."""
        self.limit = max(self.limit, int(round_trip * FASTEST_LINK))

    def stalled(self) -> None:
        """Allow twice as much: nothing landed for a while, so the peer gives back late, or some reader never will."""
        self.limit *= 2

    @property
    def room(self) -> int:
        """How much more may get under way; negative if more than that is."""
        return self.limit - self.size


class Channel:
    """One forwarded connection, as far as the protocol is concerned.

    `id` is ours, `peer_id` theirs. `peer_window` and `peer_packet` bound what we may send, `window` what they may.
    """

    __slots__ = (
        "_budget",
        "_flight",
        "_round_began",
        "_round_bytes",
        "_unadjusted",
        "close_received",
        "close_sent",
        "eof_received",
        "eof_sent",
        "held",
        "id",
        "in_flight",
        "outbound_ended",
        "peer_id",
        "peer_packet",
        "peer_window",
        "target_gone",
        "window",
        "window_size",
    )

    def __init__(  # noqa: PLR0917  the order of CHANNEL_OPEN
        self, own_id: int, peer_id: int, peer_window: int, peer_packet: int, budget: Budget, flight: Flight
    ) -> None:
        self.id = own_id
        self.peer_id = peer_id
        self.peer_window = peer_window
        self.peer_packet = peer_packet
        self._budget = budget
        self._flight = flight
        self.in_flight = 0  # bytes sent that no WINDOW_ADJUST gave back
        self.window_size = self.window = budget.admit()
        self.held = 0  # bytes received and not yet delivered
        self._unadjusted = 0  # bytes delivered since the last WINDOW_ADJUST
        self._round_began = 0.0
        self._round_bytes = 0
        self.outbound_ended = False  # the target sent all it will
        self.target_gone = False  # nothing more can be delivered
        self.eof_sent = self.eof_received = False
        self.close_sent = self.close_received = False

    # outbound

    def sendable(self) -> int:
        """How many bytes may be read from the target and sent now."""
        return 0 if self.outbound_ended or self.close_sent else self.peer_window

    def sent(self, count: int) -> None:
        """`count` bytes went out as DATA."""
        assert count <= self.sendable()
        self.peer_window -= count
        self.in_flight += count
        self._flight.size += count

    def peer_adjusted(self, count: int) -> None:
        """WINDOW_ADJUST came. Raises ProtocolViolation beyond 2³²-1."""
        if self.peer_window + count > MAX_WINDOW:
            raise ProtocolViolation(f"WINDOW_ADJUST of {count} overflows the window of channel {self.id}")
        self.peer_window += count
        landed = min(count, self.in_flight)
        self.in_flight -= landed
        self._flight.size -= landed

    def target_ended(self) -> None:
        """The target will send nothing more (its EOF); it may still take."""
        self.outbound_ended = True

    def target_broken(self) -> None:
        """The target's socket is gone, or must be: the channel ends without an EOF, so it does not look complete."""
        self.outbound_ended = self.target_gone = True

    # inbound

    def received(self, count: int) -> bool:
        """DATA came; say whether it is to be delivered. Raises ProtocolViolation if it exceeds the window."""
        if count > self.window:
            raise ProtocolViolation(f"{count} bytes on channel {self.id}, whose window is {self.window}")
        self.window -= count
        if self.target_gone or self.close_sent or self.eof_received:  # as OpenSSH: data after the end is ignored
            return False
        self.held += count
        return True

    def delivered(self, count: int, now: float, round_trip: float) -> int:
        """`count` bytes reached the target at `now`; return the WINDOW_ADJUST that is due, 0 for none yet.

        The window grows while the reader takes more than half of it in a round trip (seconds), as the bandwidth of a
        long link is the window over the round trip; it shrinks when the budget runs low.
        """
        self.held -= count
        self._unadjusted += count
        self._round_bytes += count
        # As OpenSSH does: not for every packet, but well before the peer runs dry.
        if self._unadjusted < self.window_size // 4 or self.eof_received or self.close_sent:
            return 0
        self._resize(now, round_trip)
        self._unadjusted = 0
        give = self.window_size - self.window - self.held
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
        """EOF came: what is held is still to be delivered, then the target's write side is shut."""
        self.eof_received = True

    def peer_closed(self) -> None:
        """CLOSE came: the peer takes and sends nothing more."""
        self.close_received = self.outbound_ended = True

    # what goes out

    def due(self, *, inbound_done: bool) -> tuple[Due, ...]:
        """Return the control messages that must go out now, in order, and count them as sent.

        `inbound_done` says that all that was received has reached the target, and its write side is shut.
        """
        if self.close_sent:
            return ()
        if self.target_gone or self.close_received:
            self.close_sent = True
            return (Due.CLOSE,)
        messages: tuple[Due, ...] = ()
        if self.outbound_ended and not self.eof_sent:
            self.eof_sent = True
            messages = (Due.EOF,)
        if self.eof_sent and self.eof_received and inbound_done:
            self.close_sent = True
            messages += (Due.CLOSE,)
        return messages

    @property
    def over(self) -> bool:
        """CLOSE went both ways: the id is free."""
        return self.close_sent and self.close_received

    def release(self) -> None:
        """Give back what this channel holds of budget and flight; once, when it is over or its session is."""
        self._budget.release(self.window_size)
        self._flight.size -= self.in_flight
