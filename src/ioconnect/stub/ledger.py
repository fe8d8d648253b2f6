"""What the jumphost has seen: counters that tests wait on instead of sleeping."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(slots=True)
class Counters:
    """Counts since the jumphost was made; read them freely, `Ledger.note` alone writes them."""

    connections: int = 0  # TCP connections accepted on the SSH port, also those turned away
    sessions: int = 0  # signed in and not yet over; the only one that also falls
    sign_ins: int = 0  # successful
    auth_requests: int = 0  # USERAUTH_REQUEST of method publickey, queries and signed ones
    signatures: int = 0  # of these, the signed ones
    forwards_requested: int = 0  # tcpip-forward
    forwards_granted: int = 0
    forwards_cancelled: int = 0  # cancel-tcpip-forward that named a forward of that session
    keepalives: int = 0  # global requests keepalive@…, answered
    rekeys: int = 0  # key exchanges completed after a session's first
    channels: int = 0  # forwarded-tcpip channels asked for
    channels_refused: int = 0  # answered with CHANNEL_OPEN_FAILURE


class Ledger:
    """The counters, behind one condition.

    Any thread may call, but not while it holds another lock of the stub: predicates take those.
    """

    def __init__(self) -> None:
        self.counters = Counters()
        self.violations: deque[str] = deque(maxlen=1000)  # what clients did against the RFCs
        self.open_failures: deque[tuple[int, str]] = deque(maxlen=1000)  # reason code and text (RFC 4254 §5.1)
        self._changed = threading.Condition()

    def note(self, counter: str, step: int = 1) -> None:
        """Move one counter and wake those who wait."""
        with self._changed:
            setattr(self.counters, counter, getattr(self.counters, counter) + step)
            self._changed.notify_all()

    def violation(self, text: str) -> None:
        """Keep what a client did wrong."""
        with self._changed:
            self.violations.append(text)
            self._changed.notify_all()

    def stir(self) -> None:
        """Wake those who wait: something that is no counter changed."""
        with self._changed:
            self._changed.notify_all()

    def wait_for(self, predicate: Callable[[], object], deadline: float = 10.0) -> None:
        """Return as soon as `predicate()` is true; raises TimeoutError with all counters after `deadline` seconds.

        The predicate runs under the ledger's lock: it must only look, and only at what the jumphost tells.
        """
        with self._changed:
            if not self._changed.wait_for(predicate, timeout=deadline):
                raise TimeoutError(f"not within {deadline} s; the jumphost has seen {asdict(self.counters)}")
