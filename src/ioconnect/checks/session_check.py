"""A trial of the sign-in and the forward with the agent's own session: what `test` says is what `up` will do.

One thread, the caller's; the session reports from its own through a queue.
"""

from __future__ import annotations

import contextlib
import queue
import time
from typing import TYPE_CHECKING

from ioconnect.agent.session.session import Session
from ioconnect.agent.supervisor.source_ports import SourcePorts
from ioconnect.agent.tunnel.counters import Counters
from ioconnect.agent.tunnel.events import Closed, Granted, Lost, PortRefused, SessionEvent, SignedIn
from ioconnect.checks.results import Finding, pinned
from ioconnect.errors import ConnectionLost

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from ioconnect.config.configuration import AgentSettings, Tunnel
    from ioconnect.config.paths import Paths
    from ioconnect.errors import Fault

LOOK_EVERY = 0.02  # seconds between two looks at the host key, which the session does not report
GRACE = 1.0  # seconds that the session's own words are waited for after its patience has ended
FORWARD_PATIENCE = 4.0  # seconds for the jumphost's answer
CLOSE_PATIENCE = 1.5  # seconds for a clean goodbye, and as many again for a hard one


class Trial:
    """One session from `with` to its end, by which nothing of it is left: no port, no connection, no thread.

    `host_key`, `sign_in` and `forward` are called in this order, as far as they succeed; each raises the fault that
    the session met there. `patience` is in seconds, up to the end of the sign-in.
    """

    def __init__(self, tunnel: Tunnel, settings: AgentSettings, paths: Paths, *, patience: float) -> None:
        self._tunnel = tunnel
        self._patience = patience
        self._reports: queue.Queue[SessionEvent] = queue.Queue()
        self._seen: list[type[SessionEvent]] = []
        self._fault: Fault | None = None
        self._deadline = 0.0
        # As an agent that starts would: from the same port it frees its own, which a dead session may hold.
        self._session = Session(
            *(tunnel, settings, paths, Counters(), self._reports.put),
            source=SourcePorts(paths.state / "sources.json").get(tunnel),
            patience=patience,
        )

    def __enter__(self) -> Self:
        """Start the session."""
        self._deadline = time.monotonic() + self._patience + GRACE
        self._session.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the session and wait until it is over."""
        for end in (self._session.close, self._session.abort):
            end()
            until = time.monotonic() + CLOSE_PATIENCE
            while not self._is_over and time.monotonic() < until:
                self._take(until - time.monotonic())

    def host_key(self) -> Finding:
        """Wait until the host key is verified."""
        while self._session.host_key is None:
            self._step(f"no answer from {self._tunnel.jumphost} within {self._patience:.0f} s", LOOK_EVERY)
        return pinned(self._session.host_key)

    def sign_in(self) -> Finding:
        """Wait until our key is accepted."""
        while SignedIn not in self._seen:
            self._step(f"{self._tunnel.jumphost} did not finish the sign-in within {self._patience:.0f} s")
        return Finding(f"{self._tunnel.jumphost} accepts this machine's key for {self._tunnel.ssh_user}")

    def forward(self) -> Finding:
        """Wait until the port is granted; it is given back when the trial ends."""
        self._deadline = time.monotonic() + FORWARD_PATIENCE
        port, host = self._tunnel.listen_port, self._tunnel.jumphost.host
        while Granted not in self._seen:
            self._step(f"{self._tunnel.jumphost} did not answer the request for port {port}")
        return Finding(f"Tunnel is open: port {port} on {host} was granted, and is given back now")

    def _step(self, too_late: str, look_after: float = 1.0) -> None:
        """Take a report if there is one by then; raise the fault that ended the session, or that time is over."""
        if self._fault is not None:
            raise self._fault
        remaining = self._deadline - time.monotonic()
        if remaining <= 0 or self._is_over:
            raise ConnectionLost(too_late, hint="Try again; if it stays like this, ask Integrate.io.")
        self._take(min(remaining, look_after))

    def _take(self, seconds: float) -> None:
        with contextlib.suppress(queue.Empty):
            report = self._reports.get(timeout=max(0.0, seconds))
            self._seen.append(type(report))
            if isinstance(report, (Lost, PortRefused)):
                self._fault = report.fault

    @property
    def _is_over(self) -> bool:
        return Lost in self._seen or Closed in self._seen
