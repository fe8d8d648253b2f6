"""How often the peer may ask for new keys: by the CPU time that answering it has cost.

Nothing in RFC 4253 limits that (§9 recommends an exchange after a GiB or an hour), and each costs this side 2 ms of
CPU (curve25519) to 35 ms (group 16), in which no other tunnel of the agent runs. So those that the peer begins may
take `SHARE` of the time, and one in `SECONDS` is free of that, however slow the machine is. Data earns nothing: it
may be worthless, and cost the peer nothing (SSH_MSG_IGNORE). sshd's `RekeyLimit` (sshd_config(5)), by
default a GiB or more, passes at any speed: at 1.25 GB/s a GiB lasts 0.8 s, and group 16 needs 0.7 s. Who asks more
often waits, and stalls nothing but what it sends itself. Key exchanges that this side begins are not counted.
Pure: times are arguments, in seconds.
"""

from __future__ import annotations

SHARE = 0.05  # of one CPU
SECONDS = 5.0  # once in so long an exchange is allowed whatever those before it cost
SAVED = SHARE * SECONDS  # seconds of CPU that are saved up at most, and there at the beginning


class RekeyAllowance:
    """The CPU time that is left for the key exchanges that the peer begins; times are time.monotonic().

    `has_waited` says whether one had to wait; a session has an allowance of its own.
    """

    def __init__(self, now: float) -> None:
        self._left = SAVED
        self._at = self._begun = now
        self.has_waited = False

    def delay(self, now: float) -> float:
        """Return for how many seconds the peer's next key exchange must wait: 0.0 to SECONDS."""
        self._left = min(SAVED, self._left + (now - self._at) * SHARE)
        self._at = now
        if self._left >= 0:
            return 0.0
        wait = max(0.0, min(-self._left / SHARE, self._begun + SECONDS - now))
        self.has_waited |= wait > 0
        return wait

    def begin(self, now: float) -> None:
        """The peer's key exchange begins."""
        self._begun = now

    def spend(self, cost: float) -> None:
        """Take off the CPU time of handling a message of such an exchange."""
        self._left -= cost
