"""Renders a snapshot: the agent, a summary, a table with the worst first, and one note per reason below it.

Pure. A line is parts of text with a style each, and fits the width: `plain` joins them for pipes, files and NO_COLOR
(no control characters), `styled` makes rich's text of them for a terminal. Text from remote hosts is escaped.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, TypeAlias

from ioconnect.console.guide import with_guide_link
from ioconnect.errors import ReasonCode
from ioconnect.escape import escaped
from ioconnect.status import hints, overview
from ioconnect.status.durations import elapsed, elapsed_until, size
from ioconnect.status.records import State, is_well

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from pathlib import Path

    from rich.text import Text

    from ioconnect.status.overview import Note
    from ioconnect.status.records import Snapshot, TunnelStatus

Line: TypeAlias = "tuple[tuple[str, str], ...]"  # texts, each with its style

COLUMNS = ("TUNNEL", "STATE", "FOR", "ENDPOINT", "TARGET", "CONNECTIONS", "FROM TARGET", "TO TARGET", "RTT")
# Left out where they do not fit, in this order.
DROP_ORDER = ("RTT", "TO TARGET", "FROM TARGET", "CONNECTIONS", "TARGET", "ENDPOINT")
GAP = "  "
INDENT = "  "
NARROWEST = 40  # columns; below that every line would be a word

STYLES = {
    State.CONNECTED.value: "green",
    State.STANDBY.value: "cyan",
    overview.TARGET_DOWN: "yellow",
    State.CONNECTING.value: "yellow",
    State.BACKOFF.value: "yellow",
    State.HELD.value: "red",
    State.STOPPED.value: "dim",
    overview.DISABLED: "dim",
}


def plain(lines: Iterable[Line]) -> str:
    """Return the lines as text; the only control characters are newlines."""
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)


def styled(lines: Iterable[Line]) -> list[Text]:
    """Return the lines for rich."""
    from rich.text import Text  # noqa: PLC0415  rich is heavy, and only a terminal needs it

    return [Text.assemble(*line, no_wrap=True, overflow="ellipsis") for line in lines]


def head(
    snapshot: Snapshot, now: datetime, width: int, *, start: str = hints.START, meant: Path | None = None
) -> list[Line]:
    """Return the lines about the agent, and the summary.

    `start` says how an agent that does not run is started; `meant` is a configuration that a person named and the
    agent does not run with.
    """
    bad = "" if snapshot.running and snapshot.silence is None else "red"
    lines: list[Line] = [((line, bad),) for line in _wrapped(headline(snapshot, now, start), width)]
    if snapshot.silence is not None:
        hint = with_guide_link(escaped(snapshot.silence.hint), ReasonCode.AGENT_SILENT)
        lines += [((line, ""),) for line in _wrapped(hint, width)]
        if snapshot.tunnels:
            lines.append(((f"{elapsed(snapshot.written_at or '', now)} ago it wrote:", ""),))
    if meant is not None:
        other = f"the agent runs with {escaped(snapshot.config or '')}, not with {escaped(str(meant))}"
        lines += [((line, "yellow"),) for line in _wrapped(other, width)]
    if snapshot.config_current is False:
        changed = f"{escaped(snapshot.config or 'the configuration')} differs from what runs: ioconnect reload"
        lines += [((line, "yellow"),) for line in _wrapped(changed, width)]
    if snapshot.running and snapshot.tunnels:
        lines += [((line, "bold"),) for line in _wrapped(overview.counts(snapshot.tunnels), width)]
    return lines


def headline(snapshot: Snapshot, now: datetime, start: str = hints.START) -> str:
    """Return the line about the agent."""
    if not snapshot.running:
        return f"agent not running; {start}"
    if snapshot.silence is not None:
        silence = "no answer from the agent" + (f" (pid {snapshot.pid})" if snapshot.pid else "") + " within 2 s"
        silence += f": {escaped(snapshot.silence.why)}" if snapshot.silence.why else ""
        return silence if snapshot.tunnels else f"{silence}, and nothing that it wrote"
    since = f", for {elapsed(snapshot.started_at, now)}" if snapshot.started_at else ""
    return f"agent running (pid {snapshot.pid}, version {escaped(snapshot.version)}){since}"


def body(tunnels: Sequence[TunnelStatus], now: datetime, width: int) -> list[Line]:
    """Return an empty line, the table and the notes; nothing without tunnels."""
    if not tunnels:
        return []
    notes = note_lines(overview.notes(tunnels), now, width)
    return [(), *table(tunnels, now, width), *([()] if notes else []), *notes]


def table(tunnels: Sequence[TunnelStatus], now: datetime, width: int) -> list[Line]:
    """Return the titles and a line for each tunnel, the worst first; columns that do not fit are left out."""
    ordered = overview.worst_first(tunnels)
    cells = [tuple(escaped(cell) for cell in _row(tunnel, now)) for tunnel in ordered]
    widths = [max(len(row[column]) for row in (COLUMNS, *cells)) for column in range(len(COLUMNS))]
    columns = fitting_columns(widths, width)
    last = columns[-1]
    lines: list[Line] = []
    for row, state_style in zip((COLUMNS, *cells), ("bold", *map(style_of, ordered)), strict=True):
        styles = ["bold", state_style, *["bold" if row is COLUMNS else ""] * len(COLUMNS)]
        padded = [(row[column].ljust(widths[column]) + GAP, styles[column]) for column in columns[:-1]]
        lines.append((*padded, (row[last], styles[last])))
    return lines


def fitting_columns(widths: Sequence[int], available: int) -> list[int]:
    """Return the indices of the columns to show in the available width; only those in DROP_ORDER are left out."""
    columns = list(range(len(COLUMNS)))
    for name in DROP_ORDER:
        if sum(widths[column] for column in columns) + len(GAP) * (len(columns) - 1) <= available:
            break
        columns.remove(COLUMNS.index(name))
    return columns


def style_of(tunnel: TunnelStatus) -> str:
    """Return the style of the tunnel's state; a standby that is not configured is no good one."""
    if tunnel.state is State.STANDBY and not is_well(tunnel):
        return "yellow"
    return STYLES[overview.word(tunnel)]


def _row(tunnel: TunnelStatus, now: datetime) -> Iterable[str]:
    return (
        tunnel.name,
        overview.word(tunnel),
        elapsed(overview.since(tunnel), now),
        overview.endpoint(tunnel),
        tunnel.target or "-",
        connections(tunnel),
        size(tunnel.bytes_from_target),
        size(tunnel.bytes_to_target),
        "-" if tunnel.rtt_ms is None else f"{tunnel.rtt_ms:.1f} ms",
    )


def connections(tunnel: TunnelStatus) -> str:
    """Return the tunnel's connections as text; those that did not succeed are named if there are any."""
    counted = tunnel.connections
    text = f"{counted.open} open, {counted.total} in all"
    if counted.refused or counted.failed:
        text += f", {counted.refused} refused, {counted.failed} failed"
    return text


def note_lines(notes: Iterable[Note], now: datetime, width: int) -> list[Line]:
    """Return the notes: the names and what is wrong, then what to do and when it is tried again, indented."""
    lines: list[Line] = []
    for note in notes:
        first, *others = _wrapped(f"{note.subject}: {note.text}", width) or [""]
        bold = note.subject if first.startswith(note.subject) else ""
        lines += [((bold, "bold"), (first[len(bold) :], "")), *(((line, ""),) for line in others)]
        further = [note.hint] if note.hint else []
        if note.next_attempt_at is not None:
            further.append(f"next try in {elapsed_until(note.next_attempt_at, now)}")
        for text in further:
            lines += [((line, ""),) for line in _wrapped(text, width, first=INDENT)]
    return lines


def _wrapped(text: str, width: int, *, first: str = "") -> list[str]:
    """Return the text in lines of at most `width`, broken between words only; all but the first are indented."""
    return textwrap.wrap(
        text,
        max(width, NARROWEST),
        initial_indent=first,
        subsequent_indent=INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
