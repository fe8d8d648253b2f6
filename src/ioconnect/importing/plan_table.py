"""Renders a plan: a table, and below it the sources, keys and unsupported options of each tunnel.

Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ioconnect.escape import escaped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.table import Table

    from ioconnect.importing.plan import PlannedTunnel

COLUMNS = ("TUNNEL", "", "ENDPOINT", "TARGET")
GAP = "  "


def rows(tunnels: Sequence[PlannedTunnel]) -> list[tuple[str, ...]]:
    """Return a row of cells for each tunnel, one for each of COLUMNS."""
    return [tuple(escaped(cell, limit=120) for cell in _row(plan)) for plan in tunnels]


def _row(plan: PlannedTunnel) -> tuple[str, ...]:
    tunnel = plan.tunnel
    return tunnel.name, "new" if plan.is_new else "there already", str(tunnel.endpoint), str(tunnel.target)


def notes(tunnels: Sequence[PlannedTunnel], pins: Mapping[str, str]) -> list[str]:
    """Return the lines below the table; `pins` describes the jumphost's host keys by tunnel name."""
    return [
        f"{plan.tunnel.name}: {escaped(text)}" for plan in tunnels for text in _notes_of(plan, pins[plan.tunnel.name])
    ]


def _notes_of(plan: PlannedTunnel, pins: str) -> Iterator[str]:
    key = "ioconnect's own" if plan.tunnel.identity is None else str(plan.tunnel.identity)
    by = ", ".join(dict.fromkeys(source.location for source in plan.sources))
    yield f"started by {by}; key: {key}; host keys: {pins}"
    if plan.ignored:
        yield f"not taken over: {', '.join(plan.ignored)}"


def plain(cells: Sequence[Sequence[str]]) -> str:
    """Return the table as aligned lines; the only control characters are newlines."""
    table = [COLUMNS, *cells]
    widths = [max(len(row[column]) for row in table) for column in range(len(COLUMNS))]
    aligned = (GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table)
    return "\n".join(line.rstrip() for line in aligned)


def rich_table(cells: Sequence[Sequence[str]]) -> Table:
    """Return the same as a rich table for a terminal."""
    from rich.table import Table  # noqa: PLC0415  rich is heavy, and only a terminal needs it
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, len(GAP), 0, 0))
    for column in COLUMNS:
        table.add_column(column, overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell, "bold" if at == 0 else "") for at, cell in enumerate(row)))
    return table
