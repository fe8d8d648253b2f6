"""`status --watch`: the status as it changes, drawn anew on a terminal, a line a change anywhere else."""

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

from ioconnect.commands.inspect import status
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

    from ioconnect.console.invocation import Call
    from ioconnect.errors import ExitCode
    from ioconnect.status.snapshots import Snapshot, TunnelStatus

LOOK_EVERY = 0.5  # seconds; the status is a file
LEAVING = b"qQ\x04"  # the last is Ctrl-D
MOST_SPARKS = 30  # blocks: a quarter of a minute
BESIDE_SPARKS = 44  # columns: name, arrows and rates


def watch(call: Call) -> ExitCode:
    """Show the status until q or Ctrl-C, and return the verdict on it then. Raises StatusDamaged, SystemRefused."""
    tunnels = status.configured(call)
    snapshot = status.observed(call, tunnels, say=True)
    shown = _drawn() if is_colourful(sys.stdout, os.environ) else _told()
    with contextlib.suppress(KeyboardInterrupt), Interruptions(), _keys() as told_to_leave, shown as show:
        while True:
            show(snapshot)
            if told_to_leave(LOOK_EVERY):
                break
            snapshot = status.observed(call, tunnels, say=False)
    return snapshots.exit_code(snapshot)


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Yield what waits for so many seconds and says whether a key was pressed that means to leave."""
    # With the output in a pipe the keyboard is somebody else's (less); in the background, nobody's.
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
    return not typed or any(key in LEAVING for key in typed)


@contextlib.contextmanager
def _told() -> Iterator[Callable[[Snapshot], None]]:
    """Yield what prints a line for everything that is not as it was."""
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
    """Yield a line about the agent and one about each tunnel, which stay the same as long as nothing happens."""
    yield f"agent running (pid {snapshot.pid})" if snapshot.running else "agent not running"
    for tunnel in snapshot.tunnels:
        said = f"{tunnel.name} {tunnel.state.value}"
        if tunnel.reason is not None:
            said += f": {tunnel.reason.message} ({tunnel.reason.code.value})"
        yield escaped(said, limit=1000)


@contextlib.contextmanager
def _drawn() -> Iterator[Callable[[Snapshot], None]]:
    """Yield what draws the status in the place of the one before; the last one stays."""
    from rich.console import Console  # noqa: PLC0415  heavy, and only a terminal needs it
    from rich.live import Live  # noqa: PLC0415

    console = Console(file=sys.stdout)
    drawing = _Drawing()
    with Live(console=console, auto_refresh=False) as live:

        def show(snapshot: Snapshot) -> None:
            drawing.look(snapshot)
            live.update(drawing.view(snapshot, console.width, hint="q leaves"), refresh=True)
            drawing.last = snapshot

        try:
            yield show
        finally:
            if drawing.last is not None:
                live.update(drawing.view(drawing.last, console.width), refresh=True)


class _Drawing:
    """The table, and below it how much every tunnel carries."""

    def __init__(self) -> None:
        self.last: Snapshot | None = None
        self._meters: dict[str, tuple[Meter, Meter]] = {}

    def look(self, snapshot: Snapshot) -> None:
        """Take in the counters."""
        now = time.monotonic()
        for tunnel in snapshot.tunnels:
            meters = self._meters.setdefault(tunnel.name, (Meter(), Meter()))
            for meter, count in zip(meters, (tunnel.bytes_from_target, tunnel.bytes_to_target), strict=True):
                meter.sample(now, count)

    def view(self, snapshot: Snapshot, width: int, *, hint: str = "") -> Group:
        """Return all of it for rich."""
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

        blocks = max(0, min(MOST_SPARKS, (width - BESIDE_SPARKS) // 2))
        for meter, way in zip(self._meters[tunnel.name], ("from", "to"), strict=True):
            speed = f"{render.size(round(meter.rate))}/s"
            yield Text.assemble(f"{way} ", (sparkline(meter.rates, blocks), "cyan"), f" {speed:10}")
