"""Events of a tunnel and commands to its session: the records that session, machine and supervisor exchange.

Pure. A session reports session events from any thread; the supervisor makes the others; `machine.step` returns
commands, which the tunnel runner turns into calls of the session's methods.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from ioconnect.errors import Fault, PortBusy


# --- session events; the last event of a started session is exactly one Lost or Closed


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The host key is verified and our key accepted; tcpip-forward is sent, its reply pending.

    `reused_source`: false if the dial was to reuse a source port, and an ordinary one connected.
    """

    reused_source: bool = True


@dataclass(frozen=True, slots=True)
class Granted:
    """The jumphost granted the forward and listens on `port`: the tunnel is connected."""

    port: int


@dataclass(frozen=True, slots=True)
class PortRefused:
    """The jumphost refused the forward, as the port is in use; the session stays signed in."""

    fault: PortBusy


@dataclass(frozen=True, slots=True)
class Lost:
    """The session failed, before or after it was signed in; its last event.

    `unclean`: the jumphost may not know, and a dead session may hold the port there.
    """

    fault: Fault
    unclean: bool


@dataclass(frozen=True, slots=True)
class Closed:
    """The session was closed on request, and the jumphost was told (DISCONNECT); its last event."""


@dataclass(frozen=True, slots=True)
class CountersChanged:
    """The tunnel's Counters changed: status is to be published; not an event of the machine."""


@dataclass(frozen=True, slots=True)
class TargetChanged:
    """`Counters.target` has another state or reason: to be logged and published; not an event of the machine."""


# --- events from the supervisor


@dataclass(frozen=True, slots=True)
class Started:
    """Start; `reuse_source` if an earlier agent ended without closing its session and its source port is known."""

    reuse_source: bool = False


@dataclass(frozen=True, slots=True)
class Admitted:
    """It is the queued tunnel's turn to dial."""


@dataclass(frozen=True, slots=True)
class RetryRequested:
    """Retry now instead of waiting; a session that is signed in is probed.

    `by_user` (reconnect, reload): at once. Otherwise (network change, resume from suspend) not before
    `backoff.minimum_interval` has passed since the last attempt, as a link may flap.
    """

    cause: str
    by_user: bool = True


@dataclass(frozen=True, slots=True)
class FileChanged:
    """The identity or the pins of a held tunnel changed: what held it may be mended."""


@dataclass(frozen=True, slots=True)
class StopRequested:
    """Close the session and stop; a second one aborts it."""


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """`TunnelState.deadline` has passed."""


# --- commands


@dataclass(frozen=True, slots=True)
class Dial:
    """Start a new session, aborting one that still runs; `reuse_source`: from the source port of the last one."""

    reuse_source: bool


@dataclass(frozen=True, slots=True)
class RequestForward:
    """Repeat tcpip-forward on the same session."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Send a keepalive now, with a short timeout."""


@dataclass(frozen=True, slots=True)
class CloseSession:
    """Cancel the forward and disconnect; ends with Closed or Lost."""


@dataclass(frozen=True, slots=True)
class AbortSession:
    """Reset the session's connection at once; its later events are ignored."""


SessionEvent: TypeAlias = SignedIn | Granted | PortRefused | Lost | Closed | CountersChanged | TargetChanged
SupervisorEvent: TypeAlias = Started | Admitted | RetryRequested | FileChanged | StopRequested | DeadlinePassed
MachineEvent: TypeAlias = SignedIn | Granted | PortRefused | Lost | Closed | SupervisorEvent
Command: TypeAlias = Dial | RequestForward | Probe | CloseSession | AbortSession
