"""The terminal's modes: single keys in cbreak mode, by what they mean; and a line that is typed without echo."""

from __future__ import annotations

import contextlib
import os
import re
import select
import sys
import termios
import time
import tty
from enum import Enum
from typing import TYPE_CHECKING, Any

from ioconnect.console.interruptions import Interruptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A key, or the sequence that a terminal sends for one (xterm's ctlseqs: CSI or, in application mode, SS3).
_KEY = re.compile(rb"\x1b(?:\[[0-9;]*[A-Za-z~]|O[A-Za-z])|.", re.DOTALL)


class Key(Enum):
    """What a key means."""

    QUIT = "quit"
    UP = "up"
    DOWN = "down"
    PAGE_UP = "page up"
    PAGE_DOWN = "page down"
    TOP = "top"
    BOTTOM = "bottom"


_MEANINGS = {
    **dict.fromkeys((b"q", b"Q", b"\x04"), Key.QUIT),  # the last is Ctrl-D
    **dict.fromkeys((b"k", b"\x1b[A", b"\x1bOA"), Key.UP),
    **dict.fromkeys((b"j", b"\x1b[B", b"\x1bOB"), Key.DOWN),
    **dict.fromkeys((b"b", b"\x1b[5~"), Key.PAGE_UP),
    **dict.fromkeys((b" ", b"f", b"\x1b[6~"), Key.PAGE_DOWN),
    **dict.fromkeys((b"g", b"\x1b[H", b"\x1bOH", b"\x1b[1~"), Key.TOP),
    **dict.fromkeys((b"G", b"\x1b[F", b"\x1bOF", b"\x1b[4~"), Key.BOTTOM),
}


def meanings(typed: bytes) -> list[Key]:
    """Return what was typed, without the keys that mean nothing."""
    return [_MEANINGS[key] for key in _KEY.findall(typed) if key in _MEANINGS]


@contextlib.contextmanager
def keys() -> Iterator[Callable[[float], list[Key]]]:
    """Yield a function that waits for keys, at most so many seconds, and returns them; the terminal is restored."""
    # With the output in a pipe, the reader (less) reads the keyboard; a background job may not (SIGTTIN, termios(3)).
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.tcgetpgrp(sys.stdin.fileno()) != os.getpgrp():
        yield _no_keys
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    try:
        tty.setcbreak(keyboard)
        yield _pressed
    finally:
        _restore(keyboard, before)


@contextlib.contextmanager
def without_echo(terminal: int) -> Iterator[None]:
    """Turn the terminal's echo off for this block, and restore its attributes however the block ends.

    What was typed before is discarded, as it was echoed. SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt in the
    block, never between the change of the attributes and their return. Main thread only.
    """
    with Interruptions() as interruptions, interruptions.deferred():
        before = termios.tcgetattr(terminal)
        silent = [*before]
        silent[3] &= ~termios.ECHO  # c_lflag, termios(3)
        try:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, silent)
            with interruptions.delivered():
                yield
        finally:
            _restore(terminal, before)


def _restore(terminal: int, attributes: list[Any]) -> None:
    with contextlib.suppress(termios.error):  # EIO: it was hung up, and the SIGHUP is what ends us
        termios.tcsetattr(terminal, termios.TCSADRAIN, attributes)


def _no_keys(seconds: float) -> list[Key]:
    time.sleep(seconds)
    return []


def _pressed(seconds: float) -> list[Key]:
    keyboard = sys.stdin.fileno()
    if not select.select([keyboard], [], [], seconds)[0]:
        return []
    typed = os.read(keyboard, 64)
    return meanings(typed) if typed else [Key.QUIT]  # the terminal is gone
