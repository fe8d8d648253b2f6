"""Renders all that a snapshot says of one tunnel, a fact per line.

Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ioconnect.escape import escaped
from ioconnect.status import overview
from ioconnect.status.durations import NEVER, elapsed, size
from ioconnect.status.records import Availability
from ioconnect.status.render import INDENT, connections, note_lines, style_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from ioconnect.status.records import TunnelStatus
    from ioconnect.status.render import Line

LABEL_WIDTH = 12


def details(tunnels: Sequence[TunnelStatus], now: datetime, width: int) -> list[Line]:
    """Return the details of the tunnels, in their order, an empty line before each."""
    lines: list[Line] = []
    for tunnel in tunnels:
        since = overview.since(tunnel)
        state = overview.word(tunnel) + ("" if since == NEVER else f" for {elapsed(since, now)}")
        lines += [(), ((escaped(tunnel.name), "bold"), (": ", ""), (state, style_of(tunnel)))]
        lines += [((f"{INDENT}{name:<{LABEL_WIDTH}}{escaped(text)}", ""),) for name, text in _facts(tunnel, now)]
        lines += note_lines(overview.notes([tunnel]), now, width)
    return lines


def _facts(tunnel: TunnelStatus, now: datetime) -> Iterator[tuple[str, str]]:
    if tunnel.since != NEVER:
        yield "since", tunnel.since
    if tunnel.down_since is not None:
        yield "down since", f"{tunnel.down_since} ({elapsed(tunnel.down_since, now)})"
    yield "jumphost", tunnel.jumphost or "-"
    yield "endpoint", overview.endpoint(tunnel)
    yield "target", (tunnel.target or "-") + _target_state(tunnel, now)
    yield "identity", tunnel.identity or "-"
    yield "host key", tunnel.host_key or "-"
    yield "security", _security(tunnel)
    yield "connections", connections(tunnel)
    yield "bytes", f"{size(tunnel.bytes_from_target)} from the target, {size(tunnel.bytes_to_target)} to it"
    yield "round trip", "-" if tunnel.rtt_ms is None else f"{tunnel.rtt_ms:.1f} ms"
    yield "dials", f"{tunnel.attempts}, came back {tunnel.reconnects} times"
    if tunnel.standby_ok:
        yield "standby", "is well: another agent may hold the port"


def _target_state(tunnel: TunnelStatus, now: datetime) -> str:
    target = tunnel.target_state
    if target is None or target.state is Availability.UNKNOWN:
        return ""
    failed = f", {target.failed} failed" if target.failed else ""
    return f" ({target.state.value} for {elapsed(target.since, now)}{failed})"


def _security(tunnel: TunnelStatus) -> str:
    found = tunnel.security
    if found is None:
        return "-"
    algorithms = ", ".join(filter(None, (found.kex, found.cipher, found.mac)))
    return algorithms + (" (post-quantum)" if found.post_quantum else "")
