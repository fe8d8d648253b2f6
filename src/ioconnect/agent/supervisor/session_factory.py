"""What the supervisor needs of a session: protocols of which tests have their own implementation."""

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
    """One attempt at a tunnel, from the dial to its end; any thread may call any method, and each returns at once."""

    @property
    def local_address(self) -> tuple[str, int] | None:
        """Local address and port of the connection to the jumphost (or proxy); None before it was connected."""

    @property
    def peer_address(self) -> str | None:
        """The address of the jumphost (or proxy) that was connected; None before it was."""

    @property
    def host_key(self) -> str | None:
        """The fingerprint (SHA256:…) of the jumphost's verified host key; None before it was verified."""

    def start(self) -> None:
        """Start to dial, on a new thread."""

    def request_forward(self) -> None:
        """Repeat tcpip-forward; leads to Granted, PortRefused or Lost."""

    def probe(self) -> None:
        """Send a keepalive now, with a short timeout."""

    def close(self) -> None:
        """Cancel the forward and disconnect; leads to Closed, or Lost if the connection fails first."""

    def abort(self) -> None:
        """Reset the connection at once; later events do not count."""

    def alive_at(self) -> float:
        """Return when the session's loop was last seen running (time.monotonic), for the watchdog."""


class SessionFactory(Protocol):
    """Makes a session that is not started; `report` may be called from any thread.

    `source` is the source port to dial from, which resets a dead session of ours; the session uses an ephemeral port
    if it cannot be bound.
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
