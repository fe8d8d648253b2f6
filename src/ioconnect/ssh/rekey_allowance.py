"""How often the peer may ask for new keys.

Nothing in RFC 4253 limits that (§9 recommends an exchange after a GiB or an hour), and each costs this side 2 ms of
CPU (curve25519) to 35 ms (group 16), in which no other tunnel of the agent runs. So the peer may begin one in a few
seconds, and one more for each 8 MiB of data. sshd begins one when `RekeyLimit` (sshd_config(5)) has passed one way,
by default a GiB or more: 16 MiB are none too few at any speed, nor are 5 s if a time is set too; less ends the
session sooner or later. Key exchanges that this side begins are not counted.
Pure: the time is an argument.
"""

from __future__ import annotations

SECONDS = 5.0  # in which one is earned
BYTES = 8 << 20  # both ways together, by which one is earned; half of 16 MiB, as the two ends do not count alike
BURST = 30  # are saved up at most, and there at the beginning


class RekeyAllowance:
    """A token bucket of the key exchanges that the peer begins."""

    def __init__(self, now: float) -> None:
        self._left = float(BURST)
        self._at = now

    def take(self, now: float, count: int) -> bool:
        """Whether the peer may begin a key exchange, `count` bytes after the last one."""
        self._left = min(BURST, self._left + (now - self._at) / SECONDS + count / BYTES) - 1
        self._at = now
        return self._left >= 0
