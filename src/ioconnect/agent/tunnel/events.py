"""What happens to a tunnel, and what the machine orders: the vocabulary between session, machine and supervisor.

Pure. A session reports the first group from any thread; the supervisor makes the second; `machine.step` answers
with commands, which the supervisor turns into calls on the session.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from ioconnect.errors import Fault, PortBusy


# --- reported by a session; a started session ends its reports with exactly one Lost or Closed


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The host key was verified and our key accepted; the forward has been asked for, not yet granted."""


@dataclass(frozen=True, slots=True)
class Granted:
    """The jumphost listens for us on `port`: only now is the tunnel connected."""

    port: int


@dataclass(frozen=True, slots=True)
class PortRefused:
    """The port is held elsewhere; the session stays signed in and asks again when told to."""

    fault: PortBusy


@dataclass(frozen=True, slots=True)
class Lost:
    """The session is over, or never came about; its last report.

    `unclean` means that the jumphost may not know: a session of ours may live on there and hold the port.
    """

    fault: Fault
    unclean: bool


@dataclass(frozen=True, slots=True)
class Closed:
    """The session is over because we asked, and the jumphost was told; its last report."""


@dataclass(frozen=True, slots=True)
class CountersChanged:
    """A counter of the tunnel's Counters changed; for the supervisor's snapshot, the machine never sees it."""


# --- from outside the session


@dataclass(frozen=True, slots=True)
class Started:
    """Begin; `same_port` if an earlier agent left without a word and its source port is known."""

    same_port: bool = False


@dataclass(frozen=True, slots=True)
class Woken:
    """Something changed that makes waiting pointless.

    `asked` = a person wants it (reconnect, new key file, new pin): no wait holds. Otherwise (network change, wake
    from sleep) the machine keeps `backoff.soonest` between attempts, so that a flapping link is no storm.
    """

    why: str
    asked: bool = True


@dataclass(frozen=True, slots=True)
class StopRequested:
    """Leave cleanly; a second one leaves at once."""


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The time in `TunnelState.deadline` has come."""


# --- commands


@dataclass(frozen=True, slots=True)
class Dial:
    """Start a new session (an old one that still lives is dropped), from the remembered source port if told so."""

    same_port: bool


@dataclass(frozen=True, slots=True)
class RequestForward:
    """Ask again for the forward, on the same session."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask the jumphost for a sign of life now, without waiting for the keepalive."""


@dataclass(frozen=True, slots=True)
class CloseSession:
    """Cancel the forward, close, disconnect; the session answers Closed or Lost."""


@dataclass(frozen=True, slots=True)
class AbortSession:
    """Drop the session's socket at once; nothing that it still reports counts."""


SessionEvent: TypeAlias = SignedIn | Granted | PortRefused | Lost | Closed | CountersChanged
OutsideEvent: TypeAlias = Started | Woken | StopRequested | DeadlinePassed
MachineEvent: TypeAlias = SignedIn | Granted | PortRefused | Lost | Closed | OutsideEvent
Command: TypeAlias = Dial | RequestForward | Probe | CloseSession | AbortSession
