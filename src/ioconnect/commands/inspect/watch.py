"""`ioconnect status --watch`: the status redrawn in place on a terminal, a line for each change anywhere else."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Protocol

from ioconnect.console.interruptions import Interruptions
from ioconnect.console.keyboard import Key, keys
from ioconnect.console.terminal import answer, is_colourful
from ioconnect.errors import ReasonCode
from ioconnect.escape import escaped
from ioconnect.status import overview, render, snapshots
from ioconnect.status.durations import size
from ioconnect.status.snapshots import timestamp
from ioconnect.status.throughput import Meter, sparkline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ioconnect.errors import ExitCode
    from ioconnect.status.render import Line
    from ioconnect.status.snapshots import Snapshot, TunnelStatus

POLL_INTERVAL = 0.5  # seconds
MAX_SPARKLINE = 30  # blocks: a quarter of a minute
BESIDE_SPARKLINES = 44  # columns: name, directions and rates
MAX_NAME = 16  # columns of a name beside its rates
MANY = 8  # tunnels; of more, the rates of those alone that carried something in the last minute are shown


class Part(Protocol):
    """A function that returns some lines of the status."""

    def __call__(self, snapshot: Snapshot, now: datetime, width: int) -> Sequence[Line]:
        """Return the lines, at most `width` columns wide."""


def watch(first: Snapshot, observe: Callable[[], Snapshot], head: Part, body: Part) -> ExitCode:
    """Show the status until q or Ctrl-C, and return the exit code of the last one.

    `observe` is called every `POLL_INTERVAL` seconds; what it raises ends the watch. On a terminal the head stays at
    the top, and the body scrolls below it.
    """
    snapshot = first
    view = _redrawn(head, body) if is_colourful(sys.stdout, os.environ) else _lines_of_changes()
    with contextlib.suppress(KeyboardInterrupt), Interruptions(), keys() as pressed, view as (show, scroll):
        due = time.monotonic() + POLL_INTERVAL
        while True:
            show(snapshot)
            typed = pressed(max(0.0, due - time.monotonic()))
            if Key.QUIT in typed:
                break
            for key in typed:
                scroll(key)
            if time.monotonic() >= due:
                snapshot = observe()
                due = time.monotonic() + POLL_INTERVAL
    return snapshots.exit_code(snapshot)


@contextlib.contextmanager
def _lines_of_changes() -> Iterator[tuple[Callable[[Snapshot], None], Callable[[Key], None]]]:
    """Yield a function that prints the lines that were not there before, and one that does nothing."""
    before: set[str] = set()

    def show(snapshot: Snapshot) -> None:
        now = set(changes := list(lines(snapshot)))
        for line in changes:
            if line not in before:
                answer(f"{timestamp(time.time())} {line}")
        before.clear()
        before.update(now)

    yield show, lambda _key: None


def lines(snapshot: Snapshot) -> Iterator[str]:
    """Yield a line about the agent and one about each tunnel; the same state gives the same lines."""
    if snapshot.silence is not None:
        yield escaped(f"agent silent (pid {snapshot.pid}): {snapshot.silence.why or 'no answer'}", limit=1000)
        return
    yield f"agent running (pid {snapshot.pid})" if snapshot.running else "agent not running"
    for tunnel in snapshot.tunnels:
        said = f"{tunnel.name} {overview.word(tunnel)}"
        reason = tunnel.target_state.reason if tunnel.target_state and not tunnel.reason else tunnel.reason
        if reason is not None and reason.code is not ReasonCode.NOT_STARTED:  # the line of the agent says it
            said += f": {reason.message} ({reason.code.value})"
        yield escaped(said, limit=1000)


@contextlib.contextmanager
def _redrawn(head: Part, body: Part) -> Iterator[tuple[Callable[[Snapshot], None], Callable[[Key], None]]]:
    """Yield a function that draws a snapshot in the place of the one before, and one that scrolls it.

    The last one stays on the screen, as a whole.
    """
    from rich.console import Console, Group  # noqa: PLC0415  heavy, and only a terminal needs it
    from rich.live import Live  # noqa: PLC0415

    console = Console(file=sys.stdout)
    drawing = _Drawing(head, body)
    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:

        def show(snapshot: Snapshot) -> None:
            drawing.sample(snapshot)
            columns, rows = shutil.get_terminal_size()
            live.update(Group(*render.styled(drawing.screen(snapshot, columns, rows))), refresh=True)

        try:
            yield show, drawing.scroll
        finally:
            if drawing.last is not None:
                columns = shutil.get_terminal_size().columns
                live.update(Group(*render.styled(drawing.everything(drawing.last, columns))), refresh=True)


class _Drawing:
    """The head, and as much of the rest as fits on the screen: table, notes, throughput of the tunnels."""

    def __init__(self, head: Part, body: Part) -> None:
        self.last: Snapshot | None = None
        self._head = head
        self._body = body
        self._meters: dict[str, tuple[Meter, Meter]] = {}
        self._first = 0  # the first line of the rest that is shown
        self._page = 1  # lines of the rest that fit
        self._length = 0  # lines of the rest

    def sample(self, snapshot: Snapshot) -> None:
        """Record the snapshot's counters, unless it was drawn before."""
        if snapshot is self.last:
            return
        self.last = snapshot
        now = time.monotonic()
        for tunnel in snapshot.tunnels:
            meters = self._meters.setdefault(tunnel.name, (Meter(), Meter()))
            for meter, count in zip(meters, (tunnel.bytes_from_target, tunnel.bytes_to_target), strict=True):
                meter.sample(now, count)

    def scroll(self, key: Key) -> None:
        """Move the rest by a line, a page, or to an end."""
        moves = {Key.UP: -1, Key.DOWN: 1, Key.PAGE_UP: -self._page, Key.PAGE_DOWN: self._page}
        moves |= {Key.TOP: -self._length, Key.BOTTOM: self._length}
        self._first = max(0, min(self._first + moves.get(key, 0), self._length - self._page))

    def screen(self, snapshot: Snapshot, columns: int, rows: int) -> list[Line]:
        """Return what fits on a screen of this size, and a last line with the keys and where it is."""
        now = datetime.now(timezone.utc)
        head, rest = list(self._head(snapshot, now, columns)), self._rest(snapshot, now, columns)
        self._length, self._page = len(rest), max(1, rows - len(head) - 1)
        self._first = max(0, min(self._first, self._length - self._page))
        shown = rest[self._first : self._first + self._page]
        keys_line = "q leaves"
        if len(shown) < self._length:
            keys_line += f"   lines {self._first + 1}-{self._first + len(shown)} of {self._length}: ↑ ↓ PgUp PgDn"
        return [*head, *shown, ((keys_line, "dim"),)]

    def everything(self, snapshot: Snapshot, columns: int) -> list[Line]:
        """Return all lines."""
        now = datetime.now(timezone.utc)
        return [*self._head(snapshot, now, columns), *self._rest(snapshot, now, columns)]

    def _rest(self, snapshot: Snapshot, now: datetime, columns: int) -> list[Line]:
        shown = [tunnel for tunnel in snapshot.tunnels if self._is_shown(tunnel, snapshot)]
        names = max((len(tunnel.name) for tunnel in shown), default=0)
        rates = [self._rates(tunnel, min(names, MAX_NAME), columns) for tunnel in shown]
        return [*self._body(snapshot, now, columns), *([()] if rates else []), *rates]

    def _is_shown(self, tunnel: TunnelStatus, snapshot: Snapshot) -> bool:
        is_busy = any(any(meter.rates) for meter in self._meters[tunnel.name])
        return is_busy or len(snapshot.tunnels) <= MANY

    def _rates(self, tunnel: TunnelStatus, name_width: int, columns: int) -> Line:
        blocks = max(0, min(MAX_SPARKLINE, (columns - BESIDE_SPARKLINES) // 2))
        parts = [(f"{escaped(tunnel.name, limit=MAX_NAME):{name_width}}", "bold")]
        for meter, way in zip(self._meters[tunnel.name], ("from", "to"), strict=True):
            speed = f"{size(round(meter.rate))}/s"
            parts += [(f"  {way} ", ""), (sparkline(meter.rates, blocks), "cyan"), (f" {speed:10}", "")]
        return tuple(parts)
