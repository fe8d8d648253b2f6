"""What is said to a person (standard error), what is answered (standard output), and what is asked on a terminal."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO, TypeVar

from ioconnect.errors import Fault, with_guide_link
from ioconnect.escape import escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_T = TypeVar("_T")
TICK = "\N{CHECK MARK}"
PASTE_GAP = 0.05  # seconds between two lines of one paste
LONGEST_LINE = 2000  # characters of one line of a message of ours


def is_colourful(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether control characters may go there: a terminal that is not dumb, without NO_COLOR (no-color.org)."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def answer(text: str) -> None:
    """Print what the command was asked for; it has left this process when this returns."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def read_stdin(limit: int) -> str:
    """Read standard input to its end, at most `limit` bytes; bytes that are not UTF-8 become escapes."""
    return sys.stdin.buffer.read(limit).decode("utf-8", "backslashreplace")


def complain(fault: Fault) -> None:
    """Print what failed and what to do about it."""
    _print_to_person(_explained(_label("error:", "31"), fault))


@dataclass(slots=True)
class Terminal:
    """The person in front of it, if there is one; `quiet` silences what is neither a fault nor a question."""

    quiet: bool = False

    @property
    def is_interactive(self) -> bool:
        """Whether somebody can be asked: standard output may be captured, the question goes beside it."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def say(self, text: str) -> None:
        """Tell a person something that no script waits for."""
        if not self.quiet:
            _print_to_person(text)

    def warn(self, fault: Fault) -> None:
        """Tell about a fault that does not stop the command."""
        self.say(_explained(_label("warning:", "33"), fault))

    def done(self, text: str) -> None:
        """Tell that a step is done."""
        self.say(f"  {_label(TICK, '32')} {text}")

    def heading(self, text: str) -> None:
        """Tell that another step begins."""
        self.say(f"\n{_label(text, '36')}")

    @contextlib.contextmanager
    def busy(self, doing: str) -> Iterator[None]:
        """Show on a terminal that something takes time; what is said meanwhile appears above it."""
        if self.quiet or not is_colourful(sys.stderr, os.environ):
            yield
            return
        from rich.console import Console  # noqa: PLC0415  heavy, and only a terminal needs it
        from rich.text import Text  # noqa: PLC0415

        with Console(stderr=True).status(Text(doing, style="dim")):
            yield

    def ask(self, question: str, parse: Callable[[str], _T]) -> _T:
        """Ask until `parse` accepts the answer; it refuses with a Fault. End of input raises EOFError."""
        while True:
            try:
                return parse(self._line(f"{question}: "))
            except Fault as fault:  # noqa: PERF203  people are slower
                complain(fault)

    def choose(self, question: str) -> str:
        """Ask once and return what was typed. End of input raises EOFError."""
        return self._line(f"{question} ")

    def confirm(self, question: str, *, default: bool) -> bool:
        """Ask until the answer is yes or no, or empty for `default`. End of input raises EOFError."""
        while True:
            typed = self.choose(f"{question} [{'Y/n' if default else 'y/N'}]").lower()
            if typed in ("y", "yes", "n", "no", ""):
                return typed in ("y", "yes") if typed else default

    def ask_pasted(self, question: str, parse: Callable[[str], _T]) -> _T:
        """Do as `ask` does, but take several lines that were pasted together for one answer."""
        return self.ask(question, lambda first: parse("\n".join(_whole_paste(first))))

    def secret(self, question: str) -> str:
        """Ask without showing what is typed. End of input raises EOFError."""
        import getpass  # noqa: PLC0415  only keygen --passphrase needs it

        return getpass.getpass(f"{question}: ")

    @staticmethod
    def _line(prompt: str) -> str:
        # Not input(): with standard output captured it would write the prompt there.
        sys.stderr.write(prompt)
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.strip()


def _whole_paste(first: str) -> list[str]:
    """Return the first line and those of the same paste: a shell would read on, or no person can type that fast."""
    lines = [first]
    # A terminal hands out one line a read (termios(3), canonical mode), so none is hidden in a buffer of ours.
    while lines[-1].endswith("\\") or select.select([sys.stdin], [], [], PASTE_GAP)[0]:
        line = sys.stdin.readline()
        if not line:
            break
        lines.append(line.rstrip())
    return lines


def _print_to_person(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _explained(label: str, fault: Fault) -> str:
    first, *others = [escaped(line, limit=LONGEST_LINE) for line in fault.message.splitlines()] or [""]
    lines = [f"{label} {first}", *(f"  {line}" for line in others)]
    hint = with_guide_link(fault.hint, fault.code)
    lines += [f"{_label('hint:', '36')} {escaped(line, limit=LONGEST_LINE)}" for line in hint.splitlines()]
    return "\n".join(lines)


def _label(text: str, colour: str) -> str:
    return f"\x1b[{colour};1m{text}\x1b[0m" if is_colourful(sys.stderr, os.environ) else text
