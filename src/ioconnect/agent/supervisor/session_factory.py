"""What the supervisor needs of a session: the seam behind which sockets and threads live, and tests put a fake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from ioconnect.agent.dial.happy_eyeballs import SourcePort
    from ioconnect.agent.tunnel.counters import Counters
    from ioconnect.agent.tunnel.events import SessionEvent
    from ioconnect.config.configuration import AgentSettings, Tunnel
    from ioconnect.config.paths import Paths


class RunningSession(Protocol):
    """One attempt at one tunnel, from dial to end; every method may be called from any thread and returns at once."""

    @property
    def local_address(self) -> tuple[str, int] | None:
        """Our end of the connection to the jumphost (or to the proxy); None before there was one."""

    @property
    def peer_address(self) -> str | None:
        """The address at which the jumphost (or the proxy) was reached; None before it was."""

    @property
    def host_key(self) -> str | None:
        """The jumphost's verified host key as SHA256:…; None before it was verified."""

    def start(self) -> None:
        """Begin to dial on a thread of its own."""

    def request_forward(self) -> None:
        """Ask again for the forward; answered by Granted, PortRefused or Lost."""

    def probe(self) -> None:
        """Ask for a sign of life now, with less patience than the keepalive."""

    def close(self) -> None:
        """Leave cleanly; answered by Closed, or Lost if the link dies first. Also legal while dialling."""

    def abort(self) -> None:
        """Drop the socket at once (RST); what is reported afterwards does not count."""

    def alive_at(self) -> float:
        """When the session's thread last turned its loop (time.monotonic), for the watchdog."""


class SessionFactory(Protocol):
    """Makes a session that is not started yet; `report` may be called from any thread.

    `source` is the source port to dial from, which frees the port that a dead session of ours holds (RFC 5961); the
    session falls back on an ephemeral port if it cannot be bound.
    """

    def __call__(
        self,
        tunnel: Tunnel,
        settings: AgentSettings,
        paths: Paths,
        counters: Counters,
        report: Callable[[SessionEvent], None],
        *,
        source: SourcePort | None,
    ) -> RunningSession:
        """Make the session."""
