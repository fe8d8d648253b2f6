"""Verdicts as lines for people: plain ones anywhere, coloured ones and a spinner on a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ioconnect.checks.results import Verdict
from ioconnect.console.terminal import LONGEST_LINE, answer, is_colourful
from ioconnect.errors import with_guide_link
from ioconnect.escape import escaped

if TYPE_CHECKING:
    from rich.status import Status

    from ioconnect.checks.results import Check, CheckId
    from ioconnect.errors import ReasonCode

COLOURS = {Verdict.PASS: "green", Verdict.WARN: "yellow", Verdict.FAIL: "red", Verdict.SKIP: "dim"}
MARKS = {Verdict.PASS: "✓", Verdict.WARN: "!", Verdict.FAIL: "✗", Verdict.SKIP: "-"}
NAME_WIDTH = 15  # characters of the longest name of a check or fact, and a bit
SHOW_CURSOR = "\x1b[?25h"  # DECTCEM
_INDENT = " " * (6 + NAME_WIDTH + 1)
_SLOW = 100.0  # milliseconds from which on the time is shown


@dataclass(frozen=True, slots=True)
class Line:
    """What is to be shown of one verdict; `ms` 0 is not worth a word."""

    name: str
    verdict: Verdict
    detail: str
    reason: ReasonCode | None = None
    hint: str = ""
    ms: float = 0.0

    @classmethod
    def of(cls, check: Check) -> Line:
        """Return the line of a check."""
        return cls(check.id.value, check.verdict, check.detail, check.reason, check.hint, check.ms)

    @property
    def said(self) -> list[str]:
        """The detail, line by line, safe to print."""
        lines = [escaped(line, limit=LONGEST_LINE) for line in self.detail.splitlines() or [""]]
        lines[-1] += f" ({self.reason.value})" if self.reason is not None else ""
        lines[-1] += f", {self.ms / 1000:.1f} s" if self.ms >= _SLOW else ""
        return lines

    @property
    def advice(self) -> str:
        """The hint, safe to print, and where the guide tells more; "" if there is nothing to do."""
        return with_guide_link(escaped(self.hint, limit=LONGEST_LINE), self.reason)


def plain(line: Line) -> str:
    """Return the lines for a pipe or a file: no control character but the line ends."""
    first, *others = line.said
    lines = [f"{line.verdict.value:5} {line.name:{NAME_WIDTH}} {first}", *(_INDENT + other for other in others)]
    return "\n".join([*lines, *([f"{_INDENT}hint: {line.advice}"] if line.advice else [])])


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
        self.stop()

    def began(self, check: CheckId) -> None:
        """Turn the spinner for this check."""
        self.spin(check.value)

    def spin(self, text: str) -> None:
        """Turn the spinner, if there is somebody to see it."""
        self.stop()
        if not is_colourful(sys.stderr, os.environ):
            return
        from rich.console import Console  # noqa: PLC0415  rich is heavy, and only a terminal needs it
        from rich.status import Status  # noqa: PLC0415

        self._spinner = Status(text, console=Console(stderr=True))
        self._spinner.start()

    def done(self, check: Check) -> None:
        """Show the check's lines."""
        self.stop()
        if not self.silent:
            show(Line.of(check))

    def stop(self) -> None:
        """Take the spinner away, if there is one."""
        spinner, self._spinner = self._spinner, None
        if spinner is None:
            return
        try:
            spinner.stop()
        except Exception:  # noqa: BLE001  Ctrl-C came while rich was half-way; or the terminal is gone
            with contextlib.suppress(OSError):
                sys.stderr.write(SHOW_CURSOR)


def show(line: Line) -> None:
    """Print a verdict's lines on standard output."""
    if not is_colourful(sys.stdout, os.environ):
        answer(plain(line))
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    colour = COLOURS[line.verdict]
    body = Text("\n".join(line.said), "red bold" if line.verdict is Verdict.FAIL else "")
    if line.advice:
        body = Text.assemble(body, "\n", line.advice)
    row = Table.grid(padding=(0, 1))
    row.add_column(width=1)
    row.add_column(width=NAME_WIDTH)
    row.add_column(overflow="fold")
    row.add_row(Text(MARKS[line.verdict], f"{colour} bold"), Text(line.name, colour), body)
    Console(file=sys.stdout).print(row)
