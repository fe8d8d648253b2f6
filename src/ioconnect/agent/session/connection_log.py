"""The log lines of one tunnel's connections, limited so that they neither hide nor push out those of outages.

A line for each connection is logged at DEBUG only. Failures are also warned of: the first at once, then how many more
there were, once a minute. Belongs to the loop's thread.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from ioconnect.line_limit import FOREVER, LineLimit
from ioconnect.ssh import messages as ssh

if TYPE_CHECKING:
    from ioconnect.ssh.connection.forwarded_connection import Connection
    from ioconnect.ssh.messages import Origin

log = logging.getLogger(__name__)

LINES = 20  # in SECONDS, for each tunnel
SECONDS = 10.0


class Timer(Protocol):
    """What this needs of a loop."""

    now: float
    next_timer: float


class ConnectionLog:
    """Logs connections of one tunnel that ended, failed, or were refused."""

    def __init__(self, tunnel: str, loop: Timer) -> None:
        """Takes the loop for its time, and has it call `expire` when a count is due."""
        self._tunnel = tunnel
        self._loop = loop
        self._lines = LineLimit(LINES, SECONDS, loop.now)
        self._warnings = LineLimit(1, 60.0, loop.now)
        self._last_failure = ""

    def ended(self, connection: Connection) -> None:
        """Log a connection whose socket is closed."""
        if log.isEnabledFor(logging.DEBUG) and self._allow(self._lines):
            log.debug(
                "%s: connection from %s ended after %.1f s: %d bytes from the target, %d to it%s",
                self._tunnel,
                ssh.shown(connection.origin),
                self._loop.now - connection.began,
                connection.read_count,
                connection.written_count,
                f" ({connection.why})" if connection.why else "",
            )

    def failed(self, origin: Origin, why: str) -> None:
        """Log a connection that the target did not take, or that exceeds the limit of connections."""
        self._last_failure = why
        level = logging.WARNING if self._allow(self._warnings) else logging.DEBUG
        if level == logging.WARNING or (log.isEnabledFor(logging.DEBUG) and self._allow(self._lines)):
            log.log(level, "%s: connection from %s failed: %s", self._tunnel, ssh.shown(origin), why)

    def expire(self, now: float) -> float:
        """Log the counts that are due; return when the next one is."""
        if self._warnings.due <= now:
            count = self._warnings.take_suppressed(now)
            log.warning("%s: %d more connections failed, the last: %s", self._tunnel, count, self._last_failure)
        if self._lines.due <= now:
            count = self._lines.take_suppressed(now)
            log.debug("%s: %d more connection lines were not logged", self._tunnel, count)
        return min(self._warnings.due, self._lines.due)

    def close(self) -> None:
        """Log all counts, due or not: the session is over."""
        for limit in (self._warnings, self._lines):
            limit.due = self._loop.now if limit.suppressed else FOREVER
        self.expire(self._loop.now)

    def _allow(self, limit: LineLimit) -> bool:
        if limit.suppressed and limit.due <= self._loop.now:
            self.expire(self._loop.now)
        allowed = limit.allow(self._loop.now)
        self._loop.next_timer = min(self._loop.next_timer, limit.due)
        return allowed
