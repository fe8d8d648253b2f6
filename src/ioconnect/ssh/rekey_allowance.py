"""How often the peer may ask for new keys: as often as OpenSSH can be told to, and no more.

Each key exchange costs some milliseconds of CPU, and nothing in RFC 4253 limits how often a peer asks for one.
Pure: the time is an argument.
"""

from __future__ import annotations

PER_SECOND = 1.0  # ssh_config(5), RekeyLimit: the shortest time is a second
BURST = 30
FREE_BYTES = 256 << 10  # after so many bytes a key exchange costs little beside them


class RekeyAllowance:
    """A token bucket of the key exchanges that the peer begins."""

    def __init__(self, now: float) -> None:
        self._left = float(BURST)
        self._at = now

    def take(self, now: float, count: int) -> bool:
        """Whether the peer may begin a key exchange, `count` bytes after the last one."""
        self._left = min(BURST, self._left + (now - self._at) * PER_SECOND)
        self._at = now
        if count >= FREE_BYTES:
            return True
        self._left -= 1
        return self._left >= 0
