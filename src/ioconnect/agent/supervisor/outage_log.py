"""The log lines of a tunnel: one when an outage begins, one when its reason changes, one when it ends.

Likewise for an outage of its target.

Pure. A change between waiting and dialing is not logged, so a retry adds no line.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ioconnect.agent.tunnel.state import Phase
from ioconnect.status.records import Availability, State

if TYPE_CHECKING:
    from ioconnect.agent.tunnel.state import TunnelState
    from ioconnect.agent.tunnel.target_health import TargetHealth
    from ioconnect.errors import Reason


def log_line(before: TunnelState, after: TunnelState, now: float) -> tuple[int, str] | None:
    """Return the log level and text for a step of the state machine; None if it is not logged."""
    if after.phase is Phase.CONNECTED and before.phase is not Phase.CONNECTED:
        return logging.INFO, _connected(before, now)
    if after.shown is State.STOPPED:
        return None if before.shown is State.STOPPED else (logging.INFO, "stopping")
    if before.phase is Phase.STOPPED:
        source = " from the source port of the last session" if after.reuse_source else ""
        return logging.INFO, f"connecting{source}"
    if before.connected_at is not None and after.connected_at is None:
        up = f"lost after {format_duration(now - before.connected_at)}"
        return logging.WARNING, f"{after.shown.value}, {up}: {_reason(after.reason)}"
    if after.reason is not None and _code(before) != _code(after):
        down = f"not connected for {format_duration(now - after.down_since)}" if after.down_since is not None else ""
        return logging.WARNING, f"{after.shown.value}, {down}: {_reason(after.reason)}"
    return None


def target_log_line(before: Availability, health: TargetHealth) -> tuple[int, str] | None:
    """Return the log level and text for what became of the target since its state was `before`; None: nothing."""
    if health.state is before or health.state is Availability.UNKNOWN:
        return None
    if health.state is Availability.DOWN:
        return logging.WARNING, f"database unreachable: {_reason(health.reason)}"
    if before is not Availability.DOWN or health.outage is None:
        return None
    failed = f"{health.outage.failed} connection{'' if health.outage.failed == 1 else 's'} failed"
    return logging.INFO, f"database answers again after {format_duration(health.outage.seconds)}, {failed}"


def _connected(before: TunnelState, now: float) -> str:
    took = format_duration(now - before.down_since) if before.down_since is not None else "no time"
    source = {
        True: " from the source port of the last session",
        False: " from an ordinary source port, as the last session's did not connect",
        None: "",
    }[before.reused_source]
    return f"connected {'again ' if before.was_connected else ''}after {took}, dial number {before.attempts}{source}"


def _code(state: TunnelState) -> object:
    return state.reason and state.reason.code


def _reason(reason: Reason | None) -> str:
    if reason is None:
        return "no reason known"
    return f"{reason.message} [{reason.code.value}]" + (f" ({reason.hint})" if reason.hint else "")


def format_duration(seconds: float) -> str:
    """Return a duration in its two largest units: `0.4 s`, `12 s`, `3 min 4 s`, `5 h 2 min`, `3 d 4 h`."""
    if seconds < 10:  # noqa: PLR2004  below that tenths matter
        return f"{max(seconds, 0.0):.1f} s"
    whole = int(seconds)
    for size, unit, smaller, small_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // smaller} {small_unit}"
    return f"{whole} s"
