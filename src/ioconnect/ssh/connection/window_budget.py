"""The receive windows of all channels of a session, within one budget: how large they start, grow and shrink.

Pure.
"""

from __future__ import annotations

from ioconnect.ssh.messages import PACKET_SIZE

LARGEST_START = 2 << 20  # bytes; OpenSSH's CHAN_TCP_WINDOW_DEFAULT
SMALLEST_WINDOW = 2 * PACKET_SIZE


class WindowBudget:
    """What the receive windows of all channels of one session may add up to, in bytes.

    Every channel that may still be opened keeps its smallest window reserved, so the sum holds as long as `total` is
    at least `most` such windows; a smaller total is raised to that.
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
        """Grant a new channel's first window: smaller the less there is left."""
        window = min(self._start, SMALLEST_WINDOW + max(0, self._free()) // 4)  # its own smallest one is not free
        self.users += 1
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
