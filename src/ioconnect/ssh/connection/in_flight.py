"""A limit on the bytes in flight of one session: bulk transfers wait above it, so that small answers stay quick.

The limit is for all channels together. It does not react to loss or delay, as a congestion window would.
Belongs to the loop's thread. Pure: the clock is the loop's.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ioconnect.ssh.loop import Loop

MIN_IN_FLIGHT = 1 << 20  # bytes; enough to keep a peer that is near busy
MAX_BANDWIDTH = 1 << 30  # bytes per second that a link is trusted to carry
STALL = 0.05  # seconds beyond two round trips; a peer that reads acknowledges in far less
FOREVER = float("inf")


class BytesInFlight:
    """What all channels of one session have sent and the peer has not given back by WINDOW_ADJUST, in bytes.

    All of it is queued before the next small answer. So bulk transfers together get no more than keeps the link busy,
    its bandwidth-delay product; windows alone would allow megabytes for each of them.

    Some of it is not on its way any more: a peer that does not read keeps it in its own buffers, and OpenSSH returns
    up to 96 KiB of an idle channel's window only with the channel's next data. After a stall it is written off.
    """

    __slots__ = ("limit", "size", "stalls")

    def __init__(self) -> None:
        self.size = 0
        self.limit = MIN_IN_FLIGHT
        self.stalls = 0  # a channel that has seen fewer writes its own bytes off when it is used next

    def measured(self, round_trip: float) -> None:
        """Set the limit to the bandwidth-delay product of a round trip of so many seconds."""
        self.limit = max(MIN_IN_FLIGHT, int(round_trip * MAX_BANDWIDTH))

    def write_off(self) -> None:
        """Count nothing of what was sent so far any more: none of it was given back for a while."""
        self.stalls += 1
        self.size = 0

    @property
    def room(self) -> int:
        """How much more may be sent; negative if more than the limit is in flight."""
        return self.limit - self.size


class Transfer(Protocol):
    """A bulk transfer that may have to wait."""

    def resume(self) -> bool:
        """Read and send again; return False if it has ended meanwhile."""


class InFlightQueue:
    """One queue, first come first served, for all bulk transfers of a session."""

    def __init__(self, in_flight: BytesInFlight, loop: Loop, *, batch: int) -> None:
        self.in_flight = in_flight
        self.round_trip = 0.0  # of the link, in seconds
        self._loop = loop
        self._batch = batch  # bytes that a transfer sends at once
        self._waiting: deque[Transfer] = deque()
        self._until = FOREVER

    def measured(self, seconds: float) -> None:
        """Take a round trip of the link into account: the shortest counts, as it waited for nothing of ours."""
        self.round_trip = min(self.round_trip or seconds, seconds)
        self.in_flight.measured(self.round_trip)

    @property
    def full(self) -> bool:
        """Whether a bulk transfer should wait."""
        return self.in_flight.room < 0

    def wait(self, transfer: Transfer) -> None:
        """Have a transfer wait until part of what is in flight has been acknowledged."""
        if not self._waiting:
            self._set_deadline()
        self._waiting.append(transfer)

    def acknowledged(self) -> None:
        """The peer gave back part of a window, or a transfer is gone: resume those for which there is room."""
        if self._waiting and self.in_flight.room >= self._batch:
            self._resume()
            self._set_deadline()

    def expire(self, now: float) -> float:
        """Write off what is in flight if no transfer could go on for too long; return when to call again."""
        if self._waiting and now >= self._until:
            self.in_flight.write_off()
            self._resume()
            self._set_deadline()
        return self._until if self._waiting else FOREVER

    def _resume(self) -> None:
        room = self.in_flight.room
        while self._waiting and room >= self._batch:
            if self._waiting.popleft().resume():
                room -= self._batch

    def _set_deadline(self) -> None:
        self._until = self._loop.now + STALL + 2 * self.round_trip
        self._loop.next_timer = min(self._loop.next_timer, self._until)
