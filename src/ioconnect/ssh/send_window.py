"""Where bulk transfers wait while enough of them is under way: so a small answer never stands in a long line.

Belongs to the loop's thread.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from ioconnect.ssh.outbound import BATCH

if TYPE_CHECKING:
    from ioconnect.ssh.channel import Flight
    from ioconnect.ssh.loop import Loop

AT_MOST = 0.05  # seconds beyond two round trips; a jumphost that reads gives back in far less
FOREVER = float("inf")


class Parked(Protocol):
    """What waits here."""

    def unpark(self) -> None:
        """Go on."""


class Parking:
    """One line, first come first served, for all transfers of a link."""

    def __init__(self, flight: Flight, loop: Loop) -> None:
        self.flight = flight
        self.round_trip = 0.0  # of the link, in seconds
        self._loop = loop
        self._line: deque[Parked] = deque()
        self._until = FOREVER

    def measured(self, seconds: float) -> None:
        """Learn a round trip of the link."""
        self.round_trip = min(self.round_trip or seconds, seconds)
        self.flight.measured(self.round_trip)

    @property
    def wanted(self) -> bool:
        """Whether a bulk transfer should wait."""
        return self.flight.room < 0

    def park(self, transfer: Parked) -> None:
        """Have a transfer wait until part of what is under way has landed."""
        if not self._line:
            self._wait()
        self._line.append(transfer)

    def landed(self) -> None:
        """Something landed, or left the line: let go on whom there is room for."""
        if self._line and self.flight.room >= BATCH:
            self._let_go()
            self._wait()

    def expire(self, now: float) -> float:
        """Let transfers go on if nothing has landed for too long; return when to look again."""
        while self._line and now >= self._until:
            self.flight.stalled()
            self._let_go()
        return self._until if self._line else FOREVER

    def _let_go(self) -> None:
        room = self.flight.room
        while self._line and room >= BATCH:
            self._line.popleft().unpark()
            room -= BATCH

    def _wait(self) -> None:
        self._until = self._loop.now + AT_MOST + 2 * self.round_trip
        self._loop.next_timer = min(self._loop.next_timer, self._until)
