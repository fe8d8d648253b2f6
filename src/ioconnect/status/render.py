"""Renders a snapshot: a table, and below it the reason and hint of every tunnel that is not connected.

Pure. `plain` is for pipes, files and NO_COLOR (no control characters), `rich_table` for a terminal. Both show the
same `rows`, with text from remote hosts escaped.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from ioconnect.errors import with_guide_link
from ioconnect.escape import escaped
from ioconnect.status.snapshots import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Group, RenderableType

    from ioconnect.status.snapshots import Snapshot, TunnelStatus

COLUMNS = ("TUNNEL", "STATE", "FOR", "ENDPOINT", "TARGET", "CONNECTIONS", "FROM TARGET", "TO TARGET", "RTT")

DROP_ORDER = (
    "RTT",
    "TO TARGET",
    "FROM TARGET",
    "CONNECTIONS",
    "TARGET",
)  # columns left out on a narrow terminal, in this order
GAP = "  "

COLOURS = {
    State.CONNECTING: "yellow",
    State.CONNECTED: "green",
    State.BACKOFF: "yellow",
    State.STANDBY: "cyan",
    State.HELD: "red",
    State.STOPPED: "dim",
}


@dataclass(frozen=True, slots=True)
class Note:
    """A line about one tunnel below the table."""

    tunnel: str
    text: str


def plain(snapshot: Snapshot, now: datetime) -> str:
    """Return the table and its notes as aligned lines; the only control characters are newlines."""
    table = [COLUMNS, *rows(snapshot, now)]
    widths = _widths(table)
    lines = [headline(snapshot, now)]
    if snapshot.tunnels:
        aligned = (GAP.join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table)
        lines += ["", *aligned]
    lines += [f"{note.tunnel}: {note.text}" for note in notes(snapshot, now)]
    return "\n".join(lines)


def rich_table(snapshot: Snapshot, now: datetime, width: int) -> Group:
    """Return the same as a rich renderable for a terminal of this width; columns that do not fit are left out."""
    from rich.console import Group  # noqa: PLC0415  rich is heavy, and only a terminal needs it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    cells = rows(snapshot, now)
    columns = fitting_columns(_widths([COLUMNS, *cells]), width)
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, len(GAP), 0, 0))
    for column in columns:
        table.add_column(COLUMNS[column], overflow="fold")
    for tunnel, row in zip(snapshot.tunnels, cells, strict=True):
        styles = {"TUNNEL": "bold", "STATE": COLOURS[tunnel.state]}
        table.add_row(*(Text(row[column], styles.get(COLUMNS[column], "")) for column in columns))
    shown: list[RenderableType] = [Text(headline(snapshot, now), "" if snapshot.running else "red"), Text(), table]
    note_lines = [Text.assemble((note.tunnel, "bold"), ": ", note.text) for note in notes(snapshot, now)]
    return Group(*(shown if snapshot.tunnels else shown[:1]), *note_lines)


def fitting_columns(widths: Sequence[int], available: int) -> list[int]:
    """Return the indices of the columns to show in the available width; only those in DROP_ORDER are left out."""
    columns = list(range(len(COLUMNS)))
    for name in DROP_ORDER:
        if sum(widths[column] for column in columns) + len(GAP) * (len(columns) - 1) <= available:
            break
        columns.remove(COLUMNS.index(name))
    return columns


def _widths(table: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(row[column]) for row in table) for column in range(len(COLUMNS))]


def headline(snapshot: Snapshot, now: datetime) -> str:
    """Return the line about the agent."""
    if not snapshot.running:
        return "agent not running; start it: ioconnect up --daemon"
    since = f", for {elapsed(snapshot.started_at, now)}" if snapshot.started_at else ""
    return f"agent running (pid {snapshot.pid}, version {escaped(snapshot.version)}){since}"


def rows(snapshot: Snapshot, now: datetime) -> list[tuple[str, ...]]:
    """Return a row of cells for each tunnel, one for each of COLUMNS."""
    return [tuple(escaped(cell) for cell in _row(tunnel, now)) for tunnel in snapshot.tunnels]


def _row(tunnel: TunnelStatus, now: datetime) -> Iterable[str]:
    connections = tunnel.connections
    counted = f"{connections.open} open, {connections.total} in all"
    if connections.refused or connections.failed:
        counted += f", {connections.refused} refused, {connections.failed} failed"
    host = tunnel.jumphost.rpartition(":")[0]
    return (
        tunnel.name,
        tunnel.state.value,
        elapsed(tunnel.since, now),
        f"{host}:{tunnel.listen_port}",
        tunnel.target,
        counted,
        size(tunnel.bytes_from_target),
        size(tunnel.bytes_to_target),
        "-" if tunnel.rtt_ms is None else f"{tunnel.rtt_ms:.1f} ms",
    )


def notes(snapshot: Snapshot, now: datetime) -> list[Note]:
    """Return reason, hint and next attempt of the tunnels that are not connected."""
    found = []
    for tunnel in snapshot.tunnels:
        if tunnel.state is State.CONNECTED:
            continue
        name = escaped(tunnel.name)
        if tunnel.reason is not None:
            found.append(Note(name, f"{escaped(tunnel.reason.message)} ({tunnel.reason.code.value})"))
            found.append(Note(name, with_guide_link(escaped(tunnel.reason.hint), tunnel.reason.code)))
        if tunnel.next_attempt_at is not None:
            found.append(Note(name, f"next try in {elapsed_until(tunnel.next_attempt_at, now)}"))
    return found


def elapsed(since: str, now: datetime) -> str:
    """Return the time since `since` (RFC 3339) as `3s`, `12m`, `2h 5m`, `3d 4h`; "-" if it is invalid."""
    return _duration(since, now, -1)


def elapsed_until(moment: str, now: datetime) -> str:
    """Return the time until `moment` (RFC 3339) in the same form, `0s` if it is past; "-" if it is invalid."""
    return _duration(moment, now, 1)


def _duration(moment: str, now: datetime, sign: int) -> str:
    try:
        then = datetime.fromisoformat(moment.removesuffix("Z"))
    except ValueError:
        return "-"
    if then.tzinfo is None:
        then = then.replace(tzinfo=timezone.utc)
    seconds = max(0, round(sign * (then - now).total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days}d {hours % 24}h"
    if hours:
        return f"{hours}h {minutes % 60}m"
    return f"{minutes}m" if minutes else f"{seconds}s"


def size(count: int) -> str:
    """Return a number of bytes with its unit: `0 B`, `1.2 KiB`, `34.5 GiB`."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1000:  # noqa: PLR2004  four digits would widen the column
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
