"""The state of one `forwarded-tcpip` channel on the jumphost's side (RFC 4254 §5), shared by three threads.

paramiko's reading thread calls the `on_…` methods, which note what arrived and never send. The connection's
collecting and delivering threads wait in `window` and `next_chunk`. What the client may not do raises
ProtocolViolation, also where sshd forgives it.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW = 2 << 20  # bytes, as OpenSSH's CHAN_TCP_WINDOW_DEFAULT
PACKET = 32 << 10  # bytes of data, as OpenSSH's CHAN_TCP_PACKET_DEFAULT
ADJUST_AFTER = 3 * PACKET  # bytes consumed before the window is refilled, as in channels.c
UINT32_MAX = 0xFFFFFFFF


class ProtocolViolation(Exception):
    """The client broke RFC 4254; the text is what the jumphost says when it disconnects."""


class Channel:
    """Channel `number`; `interrupt` is called, under the lock, when there is nothing left to collect for it."""

    def __init__(self, number: int, interrupt: Callable[[], None]) -> None:
        self.number = number
        self.changed = threading.Condition()
        self.eof_in = False
        self.close_in = False
        self.close_out = False
        self.lost = False  # the session ended
        self.broken = False  # our TCP peer is gone
        self._interrupt = interrupt
        self._remote: int | None = None  # the client's number, once confirmed
        self._refused = False
        self._window_out = 0
        self._packet_out = 0
        self._window_in = WINDOW
        self._consumed = 0  # bytes delivered and not yet given back to the client's window
        self._inbound: deque[bytes] = deque()

    @property
    def confirmed(self) -> bool:
        """Whether the client took the channel."""
        return self._remote is not None

    @property
    def remote_number(self) -> int:
        """The client's number of the channel; raises ProtocolViolation before it is known."""
        if self._remote is None:
            raise ProtocolViolation(f"channel {self.number}: a request before confirmation")
        return self._remote

    @property
    def over(self) -> bool:
        """Whether both CLOSEs have passed, or the open was refused: the number may be used again."""
        with self.changed:
            return self.close_out and (self.close_in or self._refused)

    # the reading thread

    def on_confirmation(self, remote: int, window: int, packet: int) -> None:
        """CHANNEL_OPEN_CONFIRMATION."""
        with self.changed:
            self._require(self._remote is None and not self._refused, "a second answer to channel open")
            self._require(packet > 0, "maximum packet size 0")
            self._remote, self._window_out, self._packet_out = remote, window, min(packet, PACKET)
            self.changed.notify_all()

    def on_failure(self) -> None:
        """CHANNEL_OPEN_FAILURE."""
        with self.changed:
            self._require(self._remote is None and not self._refused, "a second answer to channel open")
            self._refused = True
            self.changed.notify_all()

    def on_data(self, data: bytes) -> None:
        """CHANNEL_DATA."""
        with self.changed:
            self._require_open("data")
            self._require(not self.eof_in, "data after EOF")
            self._require(len(data) <= PACKET, f"{len(data)} bytes of data, {PACKET} is the maximum")
            self._require(len(data) <= self._window_in, "data beyond the window")
            self._window_in -= len(data)
            if data and not self.broken and not self.close_out:
                self._inbound.append(data)
                self.changed.notify_all()

    def on_extended_data(self) -> None:
        """CHANNEL_EXTENDED_DATA, which a forwarded connection does not have."""
        self._require(False, "extended data")

    def on_window_adjust(self, amount: int) -> None:
        """CHANNEL_WINDOW_ADJUST."""
        with self.changed:
            self._require(self._remote is not None, "window adjust before confirmation")
            self._require(self._window_out + amount <= UINT32_MAX, "a window beyond 2^32-1")
            self._window_out += amount
            self.changed.notify_all()

    def on_eof(self) -> None:
        """CHANNEL_EOF."""
        with self.changed:
            self._require_open("EOF")
            self._require(not self.eof_in, "a second EOF")
            self.eof_in = True
            self.changed.notify_all()

    def on_close(self) -> None:
        """CHANNEL_CLOSE."""
        with self.changed:
            self._require_open("CLOSE")
            self.close_in = True
            self._stop_collecting()

    def on_session_end(self) -> None:
        """No message will arrive or leave any more."""
        with self.changed:
            self.lost = True
            self._stop_collecting()

    def _require(self, condition: bool, text: str) -> None:  # noqa: FBT001  reads as an assertion
        if not condition:
            raise ProtocolViolation(f"channel {self.number}: {text}")

    def _require_open(self, what: str) -> None:
        self._require(self._remote is not None, f"{what} before confirmation")
        self._require(not self.close_in, f"{what} after CLOSE")

    def _stop_collecting(self) -> None:
        self._interrupt()
        self.changed.notify_all()

    # the collecting thread

    def answered(self, deadline: float) -> bool:
        """Wait for the answer to CHANNEL_OPEN or the session's end; False after `deadline` seconds without."""
        with self.changed:
            return self.changed.wait_for(lambda: self.confirmed or self._refused or self.lost, deadline)

    def window(self) -> int:
        """Wait until something may be sent, and return how many bytes in one message; 0: none ever again."""
        with self.changed:
            while not (self.close_in or self.lost or self.broken):
                if self._window_out:
                    return min(self._window_out, self._packet_out)
                self.changed.wait(1.0)
        return 0

    def spend(self, size: int) -> None:
        """Take what is about to be sent off the client's window."""
        with self.changed:
            self._window_out -= size

    # the delivering thread

    def next_chunk(self) -> bytes | None:
        """Wait for data; None when no more must be delivered."""
        with self.changed:
            while not (self.lost or self.broken):
                if self._inbound:
                    return self._inbound.popleft()
                if self.eof_in or self.close_in:
                    return None
                self.changed.wait(1.0)
        return None

    def give_back(self, size: int) -> int:
        """Count `size` bytes as delivered; return the WINDOW_ADJUST to send now, 0 for none."""
        with self.changed:
            self._consumed += size
            if self._consumed < ADJUST_AFTER or self.eof_in or self.close_in or self.lost:
                return 0
            amount, self._consumed = self._consumed, 0
            self._window_in += amount
            return amount

    # both

    def note_broken(self) -> None:
        """Our TCP peer is gone: nothing can be delivered, nothing is left to collect."""
        with self.changed:
            self.broken = True
            self._inbound.clear()
            self._stop_collecting()
