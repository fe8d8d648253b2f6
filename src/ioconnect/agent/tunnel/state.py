"""The state of one tunnel.

Pure. Only `machine` makes a new state out of an old one; everybody else reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ioconnect.disposition import Disposition  # noqa: TC001  dataclasses resolve them at run time
from ioconnect.errors import Reason  # noqa: TC001  dataclasses resolve them at run time
from ioconnect.status.snapshots import State


class Phase(Enum):
    """The phase of a tunnel, finer than the state that status shows (`SHOWN`)."""

    STOPPED = "stopped"  # before Started, and after the stop
    QUEUED = "queued"  # waiting for its turn to dial, see `turnstile`
    DIALING = "dialing"  # from the DNS lookup to the sign-in
    REQUESTING = "requesting"  # signed in, first tcpip-forward sent, reply pending
    CONNECTED = "connected"
    BACKOFF = "backoff"  # waiting to dial
    HELD = "held"  # waiting to dial, after a refusal
    STANDBY = "standby"  # signed in, waiting to repeat the request
    REQUESTING_AGAIN = "requesting_again"  # signed in, tcpip-forward repeated, reply pending
    STOPPING = "stopping"  # waiting for the session to close


SHOWN = {
    Phase.STOPPED: State.STOPPED,
    Phase.QUEUED: State.CONNECTING,
    Phase.DIALING: State.CONNECTING,
    Phase.REQUESTING: State.CONNECTING,
    Phase.CONNECTED: State.CONNECTED,
    Phase.BACKOFF: State.BACKOFF,
    Phase.HELD: State.HELD,
    Phase.STANDBY: State.STANDBY,
    Phase.REQUESTING_AGAIN: State.STANDBY,
    Phase.STOPPING: State.STOPPED,
}


_SIGNED_IN = {Phase.REQUESTING, Phase.CONNECTED, Phase.STANDBY, Phase.REQUESTING_AGAIN}


@dataclass(frozen=True, slots=True)
class TunnelState:
    """The state of one tunnel; all times are seconds of the caller's monotonic clock."""

    since: float  # when the shown state began
    phase: Phase = Phase.STOPPED
    deadline: float | None = None  # when to send DeadlinePassed
    reason: Reason | None = None  # None when connected, and before the first failure
    attempts: int = 0  # dials
    reconnects: int = 0  # grants after a loss
    fast_failures: int = 0  # consecutive failures of the fast retry classes
    slow_failures: int = 0  # consecutive failures of the slow ones; fast failures in between do not reset it
    retry_class: Disposition | None = None  # of the current wait; None: no wait
    sign_in_cuts: int = 0  # ends in mid sign-in, without a failure of the network in between
    file_dials: int = 0  # dials that a changed file caused, since the last uptime of STABLE_UPTIME
    file_dialed_at: float = 0.0  # the latest of them
    attempted_at: float = 0.0  # the latest dial, or the latest request in standby
    down_since: float | None = None  # the start, or the latest loss; None when connected
    outage_began: float | None = None  # like down_since, but not reset by an uptime below STABLE_UPTIME
    connected_at: float | None = None
    was_connected: bool = False
    dead_session: bool = False  # one of ours may hold the port; no dial from its source port has been answered
    # The latest dial, or the next one of a queued tunnel, reuses the source port, as far as is known;
    reuse_source: bool = False
    reused_source: bool | None = None  # and whether the session did. None: it was not to, or it is not known yet
    queued_at: float = 0.0  # when it came to the queue
    has_hung: bool = False  # the latest dial that failed did so after more than HUNG_AFTER
    early_redials: int = 0  # consecutive dials that a RetryRequested restarted

    @property
    def shown(self) -> State:
        """The state as status shows it."""
        return SHOWN[self.phase]

    @property
    def is_signed_in(self) -> bool:
        """Whether a session is authenticated."""
        return self.phase in _SIGNED_IN
