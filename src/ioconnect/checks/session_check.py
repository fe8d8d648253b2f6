"""The checks host_key, auth and forward, with the session that the agent uses: `test` shows what `up` will do.

Used in one thread; the session's events arrive from its own thread through a queue.
"""

from __future__ import annotations

import contextlib
import queue
import time
from typing import TYPE_CHECKING

from ioconnect.agent.session.session import Session
from ioconnect.agent.tunnel.counters import Counters
from ioconnect.agent.tunnel.events import Closed, Granted, Lost, PortRefused, SessionEvent, SignedIn
from ioconnect.checks.results import Finding, pinned_host_key
from ioconnect.errors import ConnectionLost

if TYPE_CHECKING:
    import socket

    from typing_extensions import Self

    from ioconnect.config.configuration import AgentSettings, Tunnel
    from ioconnect.config.paths import Paths
    from ioconnect.errors import Fault

POLL_INTERVAL = 0.02  # seconds between two reads of the host key, for which there is no event
GRACE = 1.0  # seconds to wait for the session's own fault after its timeout
FORWARD_TIMEOUT = 4.0  # seconds for the jumphost's reply
CLOSE_TIMEOUT = 1.5  # seconds for an orderly close, and as many again for an abort


class SessionCheck:
    """One SSH session as a context manager; on exit its port, connection and thread are released.

    Call `host_key`, `auth` and `forward` in this order, as far as they succeed; each raises the session's fault in
    that step. `timeout` is in seconds, until the end of authentication. With `sock`, a connection to the jumphost,
    the session does not dial.
    """

    def __init__(
        self,
        tunnel: Tunnel,
        settings: AgentSettings,
        paths: Paths,
        *,
        timeout: float,
        sock: socket.socket | None = None,
    ) -> None:
        self._tunnel = tunnel
        self._timeout = timeout
        # Not a Queue, whose locks are Python's: a Ctrl-C between two of its lines leaves one taken, and all hangs.
        self._events: queue.SimpleQueue[SessionEvent] = queue.SimpleQueue()
        self._received: list[type[SessionEvent]] = []
        self._fault: Fault | None = None
        self._deadline = 0.0
        self._sock = sock
        self._session = Session(tunnel, settings, paths, Counters(), self._events.put, patience=timeout)

    def __enter__(self) -> Self:
        """Start the session."""
        self._deadline = time.monotonic() + self._timeout + GRACE
        self._session.start(self._sock)
        return self

    def __exit__(self, *_: object) -> None:
        """Close the session and wait until it has ended."""
        for end in (self._session.close, self._session.abort):
            end()
            until = time.monotonic() + CLOSE_TIMEOUT
            while not self._is_over and time.monotonic() < until:
                self._receive(until - time.monotonic())

    def host_key(self) -> Finding:
        """Wait until the host key is verified."""
        while self._session.host_key is None:
            self._wait(f"no answer from {self._tunnel.jumphost} within {self._timeout:.0f} s", POLL_INTERVAL)
        return pinned_host_key(self._session.host_key)

    def auth(self) -> Finding:
        """Wait until the identity is accepted."""
        while SignedIn not in self._received:
            self._wait(f"{self._tunnel.jumphost} did not finish the sign-in within {self._timeout:.0f} s")
        return Finding(f"{self._tunnel.jumphost} accepts this machine's key for {self._tunnel.ssh_user}")

    def forward(self) -> Finding:
        """Wait until the port is granted; the end of the session releases it."""
        self._deadline = time.monotonic() + FORWARD_TIMEOUT
        port, host = self._tunnel.listen_port, self._tunnel.jumphost.host
        while Granted not in self._received:
            self._wait(f"{self._tunnel.jumphost} did not answer the request for port {port}")
        return Finding(f"Tunnel is open: port {port} on {host} was granted, and is given back now")

    def _wait(self, timeout_message: str, poll: float = 1.0) -> None:
        """Receive one event within `poll` seconds. Raises the session's fault, or ConnectionLost at the deadline."""
        if self._fault is not None:
            raise self._fault
        remaining = self._deadline - time.monotonic()
        if remaining <= 0 or self._is_over:
            raise ConnectionLost(timeout_message, hint="Try again; if it stays like this, ask Integrate.io.")
        self._receive(min(remaining, poll))

    def _receive(self, seconds: float) -> None:
        with contextlib.suppress(queue.Empty):
            event = self._events.get(timeout=max(0.0, seconds))
            self._received.append(type(event))
            if isinstance(event, (Lost, PortRefused)):
                self._fault = event.fault

    @property
    def _is_over(self) -> bool:
        return Lost in self._received or Closed in self._received
