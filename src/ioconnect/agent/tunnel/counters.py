"""Counters of a tunnel, kept across its sessions.

Pure. Written by the tunnel's loop only; the supervisor reads without a lock: each is one immutable object, and they
need not be consistent with each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ioconnect.agent.tunnel.target_health import UNKNOWN, TargetHealth

if TYPE_CHECKING:
    from collections.abc import Hashable


@dataclass(slots=True)
class Counters:
    """Connections, bytes and round-trip time of one tunnel since the agent started.

    When the loop changes a counter while `changed` is False, it sets it and reports CountersChanged once. The reader
    clears `changed` before it reads, so no change is missed and an idle tunnel causes no wake-ups.
    """

    open: int = 0  # connections
    total: int = 0
    refused: int = 0
    failed: int = 0
    from_target: int = 0  # bytes
    to_target: int = 0  # bytes
    rtt: float | None = None  # seconds, of the last global request
    target: TargetHealth = UNKNOWN
    silent_addresses: set[Hashable] = field(default_factory=set)  # of the target; for the loop alone
    changed: bool = False
