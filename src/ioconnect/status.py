"""What every tunnel does now and why: the snapshot that the agent writes and everybody else reads (schema 1).

Pure, but for `read` and `write` at the foot.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ioconnect.errors import Reason


class State(str, Enum):
    """Where a tunnel is in its life, as status shows it."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    BACKOFF = "backoff"  # network trouble, tries again soon
    STANDBY = "standby"  # signed in, the port is still held elsewhere
    HELD = "held"  # the jumphost said no; slow retries
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Connections:
    """Forwarded connections since the agent started; `refused` by us (limit), `failed` at the database."""

    open: int = 0
    total: int = 0
    refused: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class TunnelStatus:
    """One tunnel's line; times are RFC 3339 UTC (`2026-11-22T10:00:00Z`), sizes bytes."""

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


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole agent; `running` is the reader's verdict (the lock is held), never the file's word."""

    running: bool
    pid: int | None
    version: str
    started_at: str | None
    tunnels: tuple[TunnelStatus, ...]
