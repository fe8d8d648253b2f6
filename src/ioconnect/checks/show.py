"""Verdicts as lines for people: plain ones anywhere, coloured ones and a spinner on a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ioconnect.checks.results import Verdict
from ioconnect.errors import more_about
from ioconnect.escape import escaped
from ioconnect.terminal import LONGEST_LINE, answer, is_colourful

if TYPE_CHECKING:
    from rich.status import Status

    from ioconnect.checks.results import Check, CheckId

COLOURS = {Verdict.PASS: "green", Verdict.WARN: "yellow", Verdict.FAIL: "red", Verdict.SKIP: "dim"}
MARKS = {Verdict.PASS: "✓", Verdict.WARN: "!", Verdict.FAIL: "✗", Verdict.SKIP: "-"}
NAME_WIDTH = 12  # characters of the longest name of a check or fact, and a bit
_SLOW = 100.0  # milliseconds from which on the time is shown


def lines_of(check: Check) -> tuple[list[str], str]:
    """Return what is to be said of a check, line by line, and the hint with which it ends ("" for none)."""
    said = [escaped(line, limit=LONGEST_LINE) for line in check.detail.splitlines()]
    if check.reason is not None:
        said[-1] += f" ({check.reason.value})"
    if check.ms >= _SLOW:
        said[-1] += f", {check.ms / 1000:.1f} s"
    hint = escaped(check.hint, limit=LONGEST_LINE)
    if check.reason is not None:
        hint = f"{hint} {more_about(check.reason)}".lstrip()
    return said, hint


def plain(check: Check) -> str:
    """Return the lines for a pipe or a file: no control character but the line ends."""
    said, hint = lines_of(check)
    indent = " " * (6 + NAME_WIDTH + 1)
    first, *others = said
    lines = [f"{check.verdict.value:5} {check.id.value:{NAME_WIDTH}} {first}", *(indent + line for line in others)]
    return "\n".join([*lines, *([f"{indent}hint: {hint}"] if hint else [])])


@dataclass(slots=True)
class Progress:
    """Shows each check's line on standard output when it is done, and on a terminal a spinner until then.

    `silent` shows no lines (the JSON comes at the end). Also a context manager: leaves the terminal as it was.
    """

    silent: bool = False
    _spinner: Status | None = field(default=None, init=False)

    def __enter__(self) -> Progress:  # noqa: PYI034  typing.Self came with 3.11
        """Nothing is shown yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take the spinner away, whatever happened."""
        self._stop()

    def began(self, check: CheckId) -> None:
        """Turn the spinner for this check."""
        self.spin(check.value)

    def spin(self, text: str) -> None:
        """Turn the spinner, if there is somebody to see it."""
        self._stop()
        if not is_colourful(sys.stderr, os.environ):
            return
        from rich.console import Console  # noqa: PLC0415  rich is heavy, and only a terminal needs it
        from rich.status import Status  # noqa: PLC0415

        self._spinner = Status(text, console=Console(stderr=True))
        self._spinner.start()

    def done(self, check: Check) -> None:
        """Show the check's lines."""
        self._stop()
        if not self.silent:
            show(check)

    def _stop(self) -> None:
        if self._spinner is not None:
            with contextlib.suppress(OSError):  # the terminal is gone
                self._spinner.stop()
            self._spinner = None


def show(check: Check) -> None:
    """Print a check's lines on standard output."""
    if not is_colourful(sys.stdout, os.environ):
        answer(plain(check))
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    said, hint = lines_of(check)
    colour = COLOURS[check.verdict]
    body = Text("\n".join(said), "red bold" if check.verdict is Verdict.FAIL else "")
    if hint:
        body.append(f"\n{hint}", "default not bold")
    row = Table.grid(padding=(0, 1))
    row.add_column(width=1)
    row.add_column(width=NAME_WIDTH)
    row.add_column()
    row.add_row(Text(MARKS[check.verdict], f"{colour} bold"), Text(check.id.value, colour), body)
    Console(file=sys.stdout).print(row)
