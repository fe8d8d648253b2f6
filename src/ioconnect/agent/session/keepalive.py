"""Is the jumphost still there? Numbers in, verdict out; the tunnel's loop does the reading, sending and waiting.

Pure; one thread, the loop's. As OpenSSH (clientloop.c, server_alive_check): any inbound byte is life; after
`interval` seconds without one a probe is due; when `count_max` probes in a row got `interval` seconds each without a
byte, the peer is dead. With 10 and 1 that is a probe at 10 s and death at 20 s.
"""

from __future__ import annotations

from enum import Enum

URGENT_PATIENCE = 5.0  # seconds that a probe gets when there is a reason to doubt: several retransmissions (RFC 6298)


class Verdict(Enum):
    """What to do about the peer now."""

    WAIT = "wait"
    PROBE = "probe"
    DEAD = "dead"


class Keepalive:
    """The keepalive of one session.

    `interval` in seconds (> 0), `count_max` probes (>= 1), `now` and all later times from one monotonic clock.
    """

    __slots__ = ("_count_max", "_deadline", "_interval", "_patience", "_unanswered")

    def __init__(self, interval: float, count_max: int, now: float) -> None:
        assert interval > 0
        assert count_max >= 1
        self._interval = interval
        self._count_max = count_max
        self._patience = interval
        self._unanswered = 0
        self._deadline = now + interval

    def next_deadline(self) -> float:
        """When to `check` next, if nothing is heard before."""
        return self._deadline

    def heard(self, now: float) -> None:
        """Note an inbound byte of whatever kind; also a refused probe is life."""
        self._unanswered = 0
        self._patience = self._interval
        self._deadline = now + self._interval

    def probed(self, now: float) -> None:
        """Note that a probe was queued, also if the socket takes no byte now: a peer that never reads is dead too."""
        self._unanswered += 1
        self._deadline = now + self._patience

    def probe_now(self, now: float) -> None:
        """Doubt the peer (the network changed, the machine slept): `check` asks for a probe at once.

        This probe, and those after it until a byte is heard, get at most URGENT_PATIENCE; if one is under way
        already, the rest of its time is cut to that.
        """
        self._patience = min(self._interval, URGENT_PATIENCE)
        self._deadline = min(self._deadline, now + self._patience) if self._unanswered else now

    def check(self, now: float) -> Verdict:
        """Say what to do. Read the socket first: after a pause of our own, bytes may be waiting in it."""
        if now < self._deadline:
            return Verdict.WAIT
        return Verdict.DEAD if self._unanswered >= self._count_max else Verdict.PROBE
