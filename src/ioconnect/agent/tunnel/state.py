"""What the machine remembers about one tunnel.

Pure. Only `agent.machine` makes a new state out of an old one; everybody else reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ioconnect.errors import Disposition, Reason  # noqa: TC001  dataclasses resolve them at run time
from ioconnect.status.snapshots import State


class Phase(Enum):
    """Where a tunnel is in its life, finer than what status shows (`SHOWN`)."""

    STOPPED = "stopped"  # before Started, and the end
    DIALING = "dialing"  # from the resolver to the sign-in
    ASKING = "asking"  # signed in, the first answer about the port is awaited
    CONNECTED = "connected"
    BACKOFF = "backoff"  # waiting to dial
    HELD = "held"  # waiting to dial, long
    STANDBY = "standby"  # signed in, waiting to ask again
    REASKING = "reasking"  # signed in, asked again, the answer is awaited
    STOPPING = "stopping"  # asked the session to leave


SHOWN = {
    Phase.STOPPED: State.STOPPED,
    Phase.DIALING: State.CONNECTING,
    Phase.ASKING: State.CONNECTING,
    Phase.CONNECTED: State.CONNECTED,
    Phase.BACKOFF: State.BACKOFF,
    Phase.HELD: State.HELD,
    Phase.STANDBY: State.STANDBY,
    Phase.REASKING: State.STANDBY,
    Phase.STOPPING: State.STOPPED,
}


@dataclass(frozen=True, slots=True)
class TunnelState:
    """Everything that is remembered about one tunnel; all times are of the caller's monotonic clock, in seconds."""

    since: float  # when the shown state began
    phase: Phase = Phase.STOPPED
    deadline: float | None = None  # when to send DeadlinePassed
    reason: Reason | None = None  # None when connected, and before the first failure
    attempts: int = 0  # dials
    reconnects: int = 0  # grants after a loss
    retries: int = 0  # failures in a row of the quick classes
    refusals: int = 0  # failures in a row of the slow ones; network trouble in between does not excuse them
    wait: Disposition | None = None  # the class of the current wait
    tried_at: float = 0.0  # the latest dial, or the latest ask in standby
    down_since: float | None = None  # start, or the latest loss; None when connected
    outage_began: float | None = None  # as down_since, but a tunnel that came up too briefly does not end it
    connected_at: float | None = None
    was_connected: bool = False
    ghost: bool = False  # a dead session of ours may hold the port, and no dial from its source port was answered yet
    same_port: bool = False  # the latest dial was from the remembered source port
    restarts: int = 0  # dials given up in a row because something woke us

    @property
    def shown(self) -> State:
        """The state as status shows it."""
        return SHOWN[self.phase]
