"""What a tunnel has carried: plain counters that outlive its sessions.

Pure. One writer, the tunnel's loop; the supervisor reads them without a lock (each is one int or float, and a
snapshot that is a packet old is still true).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Counters of one tunnel since the agent started.

    The loop sets `changed` and reports once when it changes a counter of a settled Counters; the reader clears
    `changed` *before* it reads, so no change goes unseen and an idle tunnel wakes nobody.
    """

    open: int = 0
    total: int = 0
    refused: int = 0
    failed: int = 0
    from_target: int = 0  # bytes
    to_target: int = 0  # bytes
    rtt: float | None = None  # seconds, of the last answered probe
    changed: bool = False
