"""`ioconnect status --watch`: the status redrawn in place on a terminal, a line for each change anywhere else."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import time
import tty
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from ioconnect.console.interruptions import Interruptions
from ioconnect.console.terminal import answer, is_colourful
from ioconnect.escape import escaped
from ioconnect.status import render, snapshots
from ioconnect.status.snapshots import timestamp
from ioconnect.status.throughput import Meter, sparkline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Group, RenderableType
    from rich.text import Text

    from ioconnect.errors import ExitCode
    from ioconnect.status.snapshots import Snapshot, TunnelStatus

POLL_INTERVAL = 0.5  # seconds; the status is a file
QUIT_KEYS = b"qQ\x04"  # the last is Ctrl-D
MAX_SPARKLINE = 30  # blocks: a quarter of a minute
BESIDE_SPARKLINES = 44  # columns: name, directions and rates


def watch(first: Snapshot, observe: Callable[[], Snapshot]) -> ExitCode:
    """Show the status until q or Ctrl-C, and return the exit code of the last one.

    `observe` is called every `POLL_INTERVAL` seconds; what it raises ends the watch.
    """
    snapshot = first
    view = _redrawn() if is_colourful(sys.stdout, os.environ) else _lines_of_changes()
    with contextlib.suppress(KeyboardInterrupt), Interruptions(), _keys() as leaves_within, view as show:
        while True:
            show(snapshot)
            if leaves_within(POLL_INTERVAL):
                break
            snapshot = observe()
    return snapshots.exit_code(snapshot)


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Yield a function that waits up to so many seconds and returns whether a key to quit was pressed."""
    # With the output in a pipe, the reader (less) reads the keyboard; a background job may not (SIGTTIN, termios(3)).
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.tcgetpgrp(sys.stdin.fileno()) != os.getpgrp():
        yield _no_key
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    try:
        tty.setcbreak(keyboard)
        yield _pressed
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _no_key(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _pressed(seconds: float) -> bool:
    keyboard = sys.stdin.fileno()
    if not select.select([keyboard], [], [], seconds)[0]:
        return False
    typed = os.read(keyboard, 64)
    return not typed or any(key in QUIT_KEYS for key in typed)


@contextlib.contextmanager
def _lines_of_changes() -> Iterator[Callable[[Snapshot], None]]:
    """Yield a function that prints the lines that were not there in the snapshot before."""
    before: set[str] = set()

    def show(snapshot: Snapshot) -> None:
        now = set(changes := list(lines(snapshot)))
        for line in changes:
            if line not in before:
                answer(f"{timestamp(time.time())} {line}")
        before.clear()
        before.update(now)

    yield show


def lines(snapshot: Snapshot) -> Iterator[str]:
    """Yield a line about the agent and one about each tunnel; the same state gives the same lines."""
    yield f"agent running (pid {snapshot.pid})" if snapshot.running else "agent not running"
    for tunnel in snapshot.tunnels:
        said = f"{tunnel.name} {tunnel.state.value}"
        if tunnel.reason is not None:
            said += f": {tunnel.reason.message} ({tunnel.reason.code.value})"
        yield escaped(said, limit=1000)


@contextlib.contextmanager
def _redrawn() -> Iterator[Callable[[Snapshot], None]]:
    """Yield a function that draws a snapshot in the place of the one before; the last one stays on the screen."""
    from rich.console import Console  # noqa: PLC0415  heavy, and only a terminal needs it
    from rich.live import Live  # noqa: PLC0415

    console = Console(file=sys.stdout)
    drawing = _Drawing()
    with Live(console=console, auto_refresh=False) as live:

        def show(snapshot: Snapshot) -> None:
            drawing.sample(snapshot)
            live.update(drawing.view(snapshot, console.width, hint="q leaves"), refresh=True)
            drawing.last = snapshot

        try:
            yield show
        finally:
            if drawing.last is not None:
                live.update(drawing.view(drawing.last, console.width), refresh=True)


class _Drawing:
    """The status table, and below it the throughput of every tunnel."""

    def __init__(self) -> None:
        self.last: Snapshot | None = None
        self._meters: dict[str, tuple[Meter, Meter]] = {}

    def sample(self, snapshot: Snapshot) -> None:
        """Record the snapshot's counters."""
        now = time.monotonic()
        for tunnel in snapshot.tunnels:
            meters = self._meters.setdefault(tunnel.name, (Meter(), Meter()))
            for meter, count in zip(meters, (tunnel.bytes_from_target, tunnel.bytes_to_target), strict=True):
                meter.sample(now, count)

    def view(self, snapshot: Snapshot, width: int, *, hint: str = "") -> Group:
        """Return the renderable for rich, at most `width` columns wide."""
        from rich.console import Group  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        rates = Table.grid(padding=(0, 2))
        for tunnel in snapshot.tunnels:
            rates.add_row(Text(escaped(tunnel.name, limit=16), "bold"), *self._rates(tunnel, width))
        shown: list[RenderableType] = [render.rich_table(snapshot, datetime.now(timezone.utc), width)]
        if snapshot.tunnels:
            shown += [Text(), rates]
        return Group(*shown, *([Text(hint, "dim")] if hint else []))

    def _rates(self, tunnel: TunnelStatus, width: int) -> Iterator[Text]:
        from rich.text import Text  # noqa: PLC0415

        blocks = max(0, min(MAX_SPARKLINE, (width - BESIDE_SPARKLINES) // 2))
        for meter, way in zip(self._meters[tunnel.name], ("from", "to"), strict=True):
            speed = f"{render.size(round(meter.rate))}/s"
            yield Text.assemble(f"{way} ", (sparkline(meter.rates, blocks), "cyan"), f" {speed:10}")
