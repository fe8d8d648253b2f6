"""Renders results: plain lines in pipes and files, colours and a spinner on a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ioconnect.checks.results import CheckStatus
from ioconnect.console.guide import with_guide_link
from ioconnect.console.interruptions import Interruptions
from ioconnect.console.terminal import MAX_LINE, answer, is_colourful
from ioconnect.escape import escaped

if TYPE_CHECKING:
    from rich.status import Status
    from typing_extensions import Self

    from ioconnect.checks.results import CheckId, CheckResult
    from ioconnect.errors import ReasonCode

COLOURS = {CheckStatus.PASS: "green", CheckStatus.WARN: "yellow", CheckStatus.FAIL: "red", CheckStatus.SKIP: "dim"}
MARKS = {CheckStatus.PASS: "✓", CheckStatus.WARN: "!", CheckStatus.FAIL: "✗", CheckStatus.SKIP: "-"}
NAME_WIDTH = 15  # characters of the longest name of a check or fact, and a bit
SHOW_CURSOR = "\x1b[?25h"  # DECTCEM
_INDENT = " " * (6 + NAME_WIDTH + 1)
_SLOW = 100.0  # milliseconds from which on the time is shown


@dataclass(frozen=True, slots=True)
class Line:
    """One result to be shown: of a check, or of a fact of the machine."""

    name: str
    status: CheckStatus
    detail: str
    reason: ReasonCode | None = None
    hint: str = ""
    ms: float = 0.0

    @classmethod
    def of(cls, check: CheckResult) -> Line:
        """Return the line of a check's result."""
        return cls(check.id.value, check.status, check.detail, check.reason, check.hint, check.ms)

    @property
    def detail_lines(self) -> list[str]:
        """The detail's lines, escaped, with reason code and duration at the end."""
        lines = [escaped(line, limit=MAX_LINE) for line in self.detail.splitlines() or [""]]
        lines[-1] += f" ({self.reason.value})" if self.reason is not None else ""
        lines[-1] += f", {self.ms / 1000:.1f} s" if self.ms >= _SLOW else ""
        return lines

    @property
    def linked_hint(self) -> str:
        """The hint, escaped, with a link to the guide; "" if there is none."""
        return with_guide_link(escaped(self.hint, limit=MAX_LINE), self.reason)


def plain(line: Line) -> str:
    """Return the text for a pipe or a file; its only control characters are newlines."""
    first, *others = line.detail_lines
    lines = [f"{line.status.value:5} {line.name:{NAME_WIDTH}} {first}", *(_INDENT + other for other in others)]
    return "\n".join([*lines, *([f"{_INDENT}hint: {line.linked_hint}"] if line.linked_hint else [])])


@dataclass(slots=True)
class Progress:
    """A CheckListener that shows each result on standard output, and on a terminal a spinner during the check.

    `silent` shows no results (for JSON). As a context manager it restores the terminal, and the first SIGINT, SIGTERM
    or SIGHUP in it raises KeyboardInterrupt.
    """

    silent: bool = False
    _spinner: Status | None = field(default=None, init=False)
    _interruptions: Interruptions = field(default_factory=Interruptions, init=False)

    def __enter__(self) -> Self:
        """Nothing is shown yet."""
        self._interruptions.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """Remove the spinner."""
        try:
            self.stop()
        finally:
            self._interruptions.__exit__(*error)

    def began(self, check: CheckId) -> None:
        """Show the spinner for this check."""
        self.spin(check.value)

    def spin(self, text: str) -> None:
        """Show the spinner, if standard error is a terminal."""
        self.stop()
        if not is_colourful(sys.stderr, os.environ):
            return
        from rich.console import Console  # noqa: PLC0415  rich is heavy, and only a terminal needs it
        from rich.status import Status  # noqa: PLC0415

        with self._interruptions.deferred():
            self._spinner = Status(text, console=Console(stderr=True))
            self._spinner.start()

    def done(self, check: CheckResult) -> None:
        """Show the check's result."""
        self.stop()
        if not self.silent:
            show(Line.of(check))

    def stop(self) -> None:
        """Remove the spinner, if there is one."""
        # Not in the middle of it: rich's stand-in for sys.stderr is freed there, and io.IOBase loses what its last
        # flush raises, also KeyboardInterrupt.
        with self._interruptions.deferred():
            spinner, self._spinner = self._spinner, None
            if spinner is None:
                return
            try:
                spinner.stop()
            except Exception:  # noqa: BLE001  the terminal is gone
                with contextlib.suppress(OSError):
                    sys.stderr.write(SHOW_CURSOR)


def show(line: Line) -> None:
    """Print a result on standard output."""
    if not is_colourful(sys.stdout, os.environ):
        answer(plain(line))
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    colour = COLOURS[line.status]
    body = Text("\n".join(line.detail_lines), "red bold" if line.status is CheckStatus.FAIL else "")
    if line.linked_hint:
        body = Text.assemble(body, "\n", line.linked_hint)
    row = Table.grid(padding=(0, 1))
    row.add_column(width=1)
    row.add_column(width=NAME_WIDTH)
    row.add_column(overflow="fold")
    row.add_row(Text(MARKS[line.status], f"{colour} bold"), Text(line.name, colour), body)
    Console(file=sys.stdout).print(row)
