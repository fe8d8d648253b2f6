"""Output: the answer of a command on standard output, messages on standard error; and questions on a terminal."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO, TypeVar

from ioconnect.console.guide import with_guide_link
from ioconnect.console.interruptions import wait_readable
from ioconnect.errors import Fault
from ioconnect.escape import escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_T = TypeVar("_T")
TICK = "\N{CHECK MARK}"
PASTE_GAP = 0.05  # seconds, at most, between two lines of one paste
MAX_LINE = 2000  # characters of a line of a message


def is_colourful(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether to write control characters: to a terminal that is not dumb, without NO_COLOR (no-color.org)."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def answer(text: str) -> None:
    """Print a line of the command's answer on standard output, and flush it."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def read_stdin(limit: int) -> str:
    """Read standard input to its end, at most `limit` bytes; bytes that are not UTF-8 become escapes."""
    return sys.stdin.buffer.read(limit).decode("utf-8", "backslashreplace")


def print_error(fault: Fault) -> None:
    """Print the fault and its hint on standard error."""
    _print_message(_formatted(_label("error:", "31"), fault))


@dataclass(slots=True)
class Terminal:
    """Messages and questions; `quiet` suppresses all messages but errors."""

    quiet: bool = False

    @property
    def is_interactive(self) -> bool:
        """Whether somebody can be asked. Standard output may be captured: questions go to standard error."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def say(self, text: str) -> None:
        """Print a message of one or more lines; control characters in it are escaped."""
        self._print("\n".join(escaped(line, limit=MAX_LINE) for line in text.split("\n")))

    def warn(self, fault: Fault) -> None:
        """Print a fault that does not stop the command."""
        self._print(_formatted(_label("warning:", "33"), fault))

    def done(self, text: str) -> None:
        """Print that a step is done."""
        self._print(f"  {_label(TICK, '32')} {escaped(text, limit=MAX_LINE)}")

    def heading(self, text: str) -> None:
        """Print the heading of the next step."""
        self._print(f"\n{_label(escaped(text), '36')}")

    def _print(self, text: str) -> None:
        if not self.quiet:
            _print_message(text)

    @contextlib.contextmanager
    def busy(self, doing: str) -> Iterator[None]:
        """Show a spinner on a terminal during this block; messages appear above it."""
        if self.quiet or not is_colourful(sys.stderr, os.environ):
            yield
            return
        from rich.console import Console  # noqa: PLC0415  heavy, and only a terminal needs it
        from rich.text import Text  # noqa: PLC0415

        with Console(stderr=True).status(Text(doing, style="dim")):
            yield

    def ask(self, question: str, parse: Callable[[str], _T]) -> _T:
        """Ask until `parse` raises no Fault, and return what it returns. Raises EOFError at the end of input."""
        while True:
            try:
                return parse(self._line(f"{question}: "))
            except Fault as fault:  # noqa: PERF203  people are slower
                print_error(fault)

    def choose(self, question: str) -> str:
        """Ask once and return what was typed. Raises EOFError at the end of input."""
        return self._line(f"{question} ")

    def confirm(self, question: str, *, default: bool) -> bool:
        """Ask until the answer is yes or no, or empty for `default`. Raises EOFError at the end of input."""
        while True:
            typed = self.choose(f"{question} [{'Y/n' if default else 'y/N'}]").lower()
            if typed in ("y", "yes", "n", "no", ""):
                return typed in ("y", "yes") if typed else default

    def ask_pasted(self, question: str, parse: Callable[[str], _T]) -> _T:
        """Ask like `ask`; several lines that are pasted together are one answer."""
        return self.ask(question, lambda first: parse("\n".join(_whole_paste(first))))

    def secret(self, question: str) -> str:
        """Ask without echoing what is typed, and return it with its blanks. Raises EOFError at the end of input."""
        from ioconnect.console.keyboard import without_echo  # noqa: PLC0415  only keygen --passphrase needs it

        with without_echo(sys.stdin.fileno()):
            line = _answer_to(f"{question}: ")
        _print_message("")  # the end of the line that was not echoed
        return line.removesuffix("\n")

    @staticmethod
    def _line(prompt: str) -> str:
        return _answer_to(prompt).strip()


def _answer_to(prompt: str) -> str:
    """Show the prompt, and return the line that is typed. Raises EOFError at the end of input."""
    # Not input(): if standard output is captured, it writes the prompt there.
    sys.stderr.write(prompt)
    sys.stderr.flush()
    line = _read_line()
    if not line:
        raise EOFError
    return line


def _read_line() -> str:
    """Read a line from standard input, "" at its end."""
    if sys.stdin.isatty():  # a read returns one line there (termios(3), canonical mode): none is buffered
        wait_readable(sys.stdin.fileno())
    return sys.stdin.readline()


def _whole_paste(first: str) -> list[str]:
    """Return the lines of one paste: those after a backslash, and those that come faster than anybody types."""
    lines = [first]
    while lines[-1].endswith("\\") or select.select([sys.stdin], [], [], PASTE_GAP)[0]:
        line = _read_line()
        if not line:
            break
        lines.append(line.rstrip())
    return lines


def _print_message(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _formatted(label: str, fault: Fault) -> str:
    first, *others = [escaped(line, limit=MAX_LINE) for line in fault.message.splitlines()] or [""]
    lines = [f"{label} {first}", *(f"  {line}" for line in others)]
    hint = with_guide_link(fault.hint, fault.code)
    lines += [f"{_label('hint:', '36')} {escaped(line, limit=MAX_LINE)}" for line in hint.splitlines()]
    return "\n".join(lines)


def _label(text: str, colour: str) -> str:
    return f"\x1b[{colour};1m{text}\x1b[0m" if is_colourful(sys.stderr, os.environ) else text
