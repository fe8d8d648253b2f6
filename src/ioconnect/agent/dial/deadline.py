"""Waiting for sockets with a deadline and cancellation.

Every step of a dial that blocks (DNS lookup, connect, TLS handshake, the proxy's answer) waits through one
`Deadline`.
"""

from __future__ import annotations

import selectors
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from socket import socket


class HasFileno(Protocol):
    """Anything that a selector can watch."""

    def fileno(self) -> int:
        """Return the file descriptor."""


class DialCancelled(Exception):
    """The dial was cancelled by another thread; not a fault."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """When to time out, in `time.monotonic()` seconds, and the descriptor that cancels by becoming readable."""

    at: float
    cancelled: HasFileno | None = None

    def remaining(self) -> float:
        """Return the seconds left, 0 once the deadline has passed."""
        return max(0.0, self.at - time.monotonic())

    def earlier(self, moment: float) -> Deadline:
        """Return this deadline, or `moment` if that is earlier, with the same cancellation."""
        return Deadline(min(self.at, moment), self.cancelled)

    def wait(self, interests: Mapping[socket, int]) -> list[socket]:
        """Block until at least one socket is ready for its `selectors` events; return those that are.

        Raises TimeoutError at the deadline, DialCancelled as soon as `cancelled` is readable.
        """
        with selectors.DefaultSelector() as selector:
            for sock, events in interests.items():
                selector.register(sock, events)
            if self.cancelled is not None:
                selector.register(self.cancelled, selectors.EVENT_READ)
            while True:
                keys = [key for key, _ in selector.select(self.remaining())]
                if any(key.fileobj is self.cancelled for key in keys):
                    raise DialCancelled
                if keys:
                    return [sock for sock in interests if any(key.fileobj is sock for key in keys)]
                if self.remaining() == 0.0:
                    raise TimeoutError
