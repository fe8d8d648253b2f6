"""The send window: bulk transfers wait while enough is in flight, so that small answers are not queued behind it.

Belongs to the loop's thread.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from ioconnect.ssh.outbound import BATCH

if TYPE_CHECKING:
    from ioconnect.ssh.flow_control import BytesInFlight
    from ioconnect.ssh.loop import Loop

STALL = 0.05  # seconds beyond two round trips; a peer that reads acknowledges in far less
FOREVER = float("inf")


class Transfer(Protocol):
    """What waits here."""

    def resume(self) -> None:
        """Go on."""


class SendWindow:
    """One queue, first come first served, for all bulk transfers of a session."""

    def __init__(self, in_flight: BytesInFlight, loop: Loop) -> None:
        self.in_flight = in_flight
        self.round_trip = 0.0  # of the link, in seconds
        self._loop = loop
        self._waiting: deque[Transfer] = deque()
        self._until = FOREVER

    def measured(self, seconds: float) -> None:
        """Take a round trip of the link into account."""
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
        if self._waiting and self.in_flight.room >= BATCH:
            self._resume()
            self._set_deadline()

    def expire(self, now: float) -> float:
        """Widen the window if nothing was acknowledged for too long; return when to call again."""
        while self._waiting and now >= self._until:
            self.in_flight.widen()
            self._resume()
        return self._until if self._waiting else FOREVER

    def _resume(self) -> None:
        room = self.in_flight.room
        while self._waiting and room >= BATCH:
            self._waiting.popleft().resume()
            room -= BATCH

    def _set_deadline(self) -> None:
        self._until = self._loop.now + STALL + 2 * self.round_trip
        self._loop.next_timer = min(self._loop.next_timer, self._until)
