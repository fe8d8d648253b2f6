"""The records of a snapshot: what every tunnel does and why, and the exit code over all of them.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ioconnect.errors import ExitCode, Reason


class State(str, Enum):
    """The state of a tunnel."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    BACKOFF = "backoff"  # transient fault, waits for the next attempt
    STANDBY = "standby"  # authenticated, the port is still in use on the jumphost
    HELD = "held"  # the jumphost refused key, host key or forward; slow retries
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Connections:
    """Forwarded connections since the agent started: `refused` by max_connections, `failed` at the target."""

    open: int = 0
    total: int = 0
    refused: int = 0
    failed: int = 0


class Availability(str, Enum):
    """Whether the target (the database) accepts connections."""

    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"  # no connection was made since the agent started


@dataclass(frozen=True, slots=True)
class TargetState:
    """What the last connection to the target, or a probe after a failed one, found; `failed` counts since `since`."""

    state: Availability
    since: str
    failed: int = 0
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Security:
    """The algorithms of the session; `mac` is None with an AEAD cipher."""

    kex: str
    cipher: str
    mac: str | None
    post_quantum: bool


@dataclass(frozen=True, slots=True)
class Warning_:  # noqa: N801  `Warning` is a builtin
    """Something about a tunnel to mend, though it may be connected."""

    code: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class TunnelStatus:
    """The status of one tunnel; times are RFC 3339 UTC (`2026-11-22T10:00:00Z`), sizes in bytes.

    `down_since` is the start of the outage, across retries; None while connected. `identity` is the fingerprint of
    the key in use; it and `security` are None while no session is signed in. `standby_ok`: another agent may hold
    the port. A tunnel that is not `enabled` is not started. `waits_for_turn`: so many others of this
    agent sign in at the jumphost that this one has not begun to dial. `reused_source_port`: whether the session came
    from the source port of the one that was lost; None if it was not to, and while no session is signed in.
    """

    name: str
    state: State
    since: str
    reason: Reason | None
    jumphost: str
    listen_port: int
    target: str
    attempts: int = 0
    reconnects: int = 0
    next_attempt_at: str | None = None
    rtt_ms: float | None = None
    connections: Connections = Connections()
    bytes_from_target: int = 0
    bytes_to_target: int = 0
    host_key: str | None = None
    down_since: str | None = None
    target_state: TargetState | None = None
    security: Security | None = None
    identity: str | None = None
    warnings: tuple[Warning_, ...] = ()
    standby_ok: bool = False
    enabled: bool = True
    waits_for_turn: bool = False
    reused_source_port: bool | None = None


@dataclass(frozen=True, slots=True)
class Silence:
    """Why an agent that runs does not answer ("": it took too long), and what to do."""

    why: str
    hint: str

    @classmethod
    def of_process(cls, pid: int | None, why: str = "") -> Silence:
        """Return that the process does not answer, though its control socket is there."""
        resume = f" (kill -CONT {pid} lets it go on)" if pid else ""
        return cls(why, f"It is stopped{resume} or hangs; ioconnect down ends it.")

    @classmethod
    def of_unproven(cls, pid: int | None) -> Silence:
        """Return that who listens on the control socket does not answer, and that the lock does not name it."""
        resume = f", or let it go on (kill -CONT {pid})" if pid else ""
        proof = "The lock does not name it, so it cannot be proved which process it is."
        return cls("", f"{proof} Look with ps, and end it{resume}.")

    @classmethod
    def of_socket(cls, why: str, hint: str) -> Silence:
        """Return that the control socket is not there, or may not be used; `hint` mends that, if anything does."""
        anew = "The agent may be well, and makes its socket anew within a minute. If not, ioconnect down ends it."
        return cls(why, f"{hint}; or else: {anew}" if hint else anew)

    def __str__(self) -> str:
        """The predicate of a sentence about the agent."""
        return f"does not answer: {self.why}" if self.why else "does not answer in time"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The status of the agent; the reader sets `running` by the lock, not by the file.

    `config` is the path of the configuration that runs, `config_current` whether the file still says the same (None:
    not known). The reader's are `silence`, the agent runs but did not answer and this is what it wrote last, and
    `account`, the uid of the process that answered, as the kernel knows it.
    """

    running: bool
    pid: int | None
    version: str
    started_at: str | None
    tunnels: tuple[TunnelStatus, ...]
    written_at: str | None = None
    config: str | None = None
    config_current: bool | None = None
    silence: Silence | None = None
    account: int | None = None


def carries(tunnel: TunnelStatus) -> bool:
    """Say whether the tunnel is connected, or waits in a standby that is configured."""
    return tunnel.state is State.CONNECTED or (tunnel.state is State.STANDBY and tunnel.standby_ok)


def is_target_down(tunnel: TunnelStatus) -> bool:
    """Say whether the target refused the last connection, or the last probe after one."""
    return tunnel.target_state is not None and tunnel.target_state.state is Availability.DOWN


def is_well(tunnel: TunnelStatus) -> bool:
    """Say whether nothing is wrong with the tunnel: it is disabled, or `carries` and its target is not down."""
    return not tunnel.enabled or (carries(tunnel) and not is_target_down(tunnel))


def exit_code(snapshot: Snapshot) -> ExitCode:
    """Return UNAVAILABLE if no agent runs or answers, OK if all enabled tunnels are well, else TEMP_FAIL."""
    if not snapshot.running or snapshot.silence is not None:
        return ExitCode.UNAVAILABLE
    enabled = [tunnel for tunnel in snapshot.tunnels if tunnel.enabled]
    return ExitCode.OK if enabled and all(map(is_well, enabled)) else ExitCode.TEMP_FAIL
