"""When to send a keepalive, and when the jumphost counts as dead.

Pure. Works as OpenSSH's client does (clientloop.c, server_alive_check): any inbound byte proves that the peer is
alive; after `interval` seconds without one a keepalive is due; after `count_max` keepalives in a row, each unanswered
for `interval` seconds, the peer is dead. With 10 and 1: keepalive after 10 s, dead after 20 s.
"""

from __future__ import annotations

from enum import Enum

URGENT_TIMEOUT = 5.0  # seconds for the answer after a network change: time for several retransmissions (RFC 6298)


class Action(Enum):
    """What to do about the peer now."""

    WAIT = "wait"
    PROBE = "probe"
    DEAD = "dead"


class Keepalive:
    """The keepalive timer of one session; belongs to the loop's thread.

    `interval` in seconds (> 0), `count_max` keepalives (>= 1), `now` and all later times from one monotonic clock.
    """

    __slots__ = ("_count_max", "_deadline", "_interval", "_timeout", "_unanswered")

    def __init__(self, interval: float, count_max: int, now: float) -> None:
        assert interval > 0
        assert count_max >= 1
        self._interval = interval
        self._count_max = count_max
        self._timeout = interval
        self._unanswered = 0
        self._deadline = now + interval

    def next_deadline(self) -> float:
        """When to call `check` next, if nothing is received before."""
        return self._deadline

    def received(self, now: float) -> None:
        """Record that a byte was received, of whatever kind; REQUEST_FAILURE counts too."""
        self._unanswered = 0
        self._timeout = self._interval
        self._deadline = now + self._interval

    def probe_sent(self, now: float) -> None:
        """Record that a keepalive was queued; one that the socket does not take counts too, as unanswered."""
        self._unanswered += 1
        self._deadline = now + self._timeout

    def probe_now(self, now: float) -> None:
        """Make a keepalive due at once, because the network changed or the machine was suspended.

        The answer gets at most URGENT_TIMEOUT until a byte is received; if a keepalive is unanswered already, the
        rest of its time is reduced to that.
        """
        self._timeout = min(self._interval, URGENT_TIMEOUT)
        self._deadline = min(self._deadline, now + self._timeout) if self._unanswered else now

    def check(self, now: float) -> Action:
        """Return what is due. Read the socket first: after a suspend, received bytes may be waiting in it."""
        if now < self._deadline:
            return Action.WAIT
        return Action.DEAD if self._unanswered >= self._count_max else Action.PROBE
