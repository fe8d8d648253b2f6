"""Waiting for sockets, but never past a deadline and never after a cancellation.

Every step of a dial (the resolver, the race of addresses, the proxy's answer) waits through one `Waiting`.
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
    """The dial was called off from another thread; not a fault, nothing to report."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A deadline (`time.monotonic()` seconds), and what calls the wait off by becoming readable."""

    deadline: float
    cancelled: HasFileno | None = None

    def remaining(self) -> float:
        """Return the seconds until the deadline, 0 when it has passed."""
        return max(0.0, self.deadline - time.monotonic())

    def until(self, moment: float) -> Waiting:
        """Return the same wait with an earlier end, at most `moment`."""
        return Waiting(min(self.deadline, moment), self.cancelled)

    def ready(self, interests: Mapping[socket, int]) -> list[socket]:
        """Block until one of the sockets is ready for its `selectors` events, and return all that are.

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
