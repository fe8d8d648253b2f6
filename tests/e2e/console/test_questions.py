"""Questions on a terminal: Ctrl-C ends one whenever it comes, and a passphrase is not echoed."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from tests.rigs.terminals import CTRL_C, CTRL_D, Terminal

from ioconnect.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

# The calls of C that may block send a SIGINT before they begin: between the two no bytecode runs, so no handler.
INTERRUPTED = """
import ctypes, functools, operator, os, select, signal, sys
from ioconnect.console import terminal

def after_a_signal(call):
    kill = functools.partial(ctypes.PyDLL(None).kill, os.getpid(), int(signal.SIGINT))
    in_one_go = operator.methodcaller("__call__")
    return lambda *given: list(map(in_one_go, (kill, functools.partial(call, *given))))[-1]

class Stdin:
    isatty, fileno = sys.stdin.isatty, sys.stdin.fileno
    readline = staticmethod(after_a_signal(sys.stdin.readline))

sys.stdin, select.select = Stdin(), after_a_signal(select.select)
try:
    terminal.Terminal().%s
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize(
    "question", ["choose('Which?')", "confirm('Sure?', default=True)", "ask('Who?', str)", "secret('What?')"]
)
def test_a_signal_just_before_the_read_interrupts_it(question: str) -> None:
    """CPython's C handler only sets a flag there, and the read would block all the same."""
    with Terminal([sys.executable, "-c", INTERRUPTED % question], env=os.environ) as person:
        person.expect("?")
        person.expect("interrupted", deadline=10)
        assert person.leave()[0] == 0


def test_a_signal_whose_handler_raises_nothing_leaves_the_question_open() -> None:
    """As that of a window that changes its size may."""
    asking = (
        "import os, signal, threading; from ioconnect.console.terminal import Terminal\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('signalled', flush=True))\n"
        "threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()\n"
        "print('answer', Terminal().choose('Which?'), signal.set_wakeup_fd(-1))"
    )
    with Terminal([sys.executable, "-c", asking], env=os.environ) as person:
        person.expect("signalled")
        person.type("this one")
        person.expect("answer this one -1")
        assert person.leave()[0] == 0


# Asks for a secret, then says what became of it and whether the terminal echoes again.
SECRET = """
import sys, termios
from ioconnect.console.terminal import Terminal
try:
    print("told", repr(Terminal().secret("What?")))
except (KeyboardInterrupt, EOFError) as end:
    print("ended", type(end).__name__)
print("echo", bool(termios.tcgetattr(0)[3] & termios.ECHO))
"""


def test_a_secret_is_not_echoed_and_kept_with_its_blanks() -> None:
    with Terminal([sys.executable, "-c", SECRET], env=os.environ) as person:
        person.expect("What?: ")
        person.type(" open  sesame ")
        person.expect("told ' open  sesame '")
        person.expect("echo True")
        assert person.leave()[0] == 0
    assert person.text.count("sesame") == 1


@pytest.mark.parametrize(("key", "kind"), [(CTRL_C, "KeyboardInterrupt"), (CTRL_D, "EOFError")])
def test_the_terminal_echoes_again_after_a_secret_that_nobody_told(key: str, kind: str) -> None:
    with Terminal([sys.executable, "-c", SECRET], env=os.environ) as person:
        person.expect("What?: ")
        person.press(key)
        person.expect(f"ended {kind}")
        person.expect("echo True")
        assert person.leave()[0] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_terminal_echoes_again_after_a_signal(number: signal.Signals) -> None:
    """It would end the process at once, and the shell would go on without an echo."""
    with Terminal([sys.executable, "-c", SECRET], env=os.environ) as person:
        person.expect("What?: ")
        person.send(number)
        person.expect("ended KeyboardInterrupt")
        person.expect("echo True")
        assert person.leave()[0] == 0


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [(("keygen", "--passphrase"), "the new key: "), (("status", "--watch"), "agent not running")],
)
def test_a_terminal_that_is_hung_up_is_no_bug(tmp_path: Path, arguments: tuple[str, ...], shown: str) -> None:
    """Its attributes cannot be restored any more, nor what a live view has drawn be ended."""
    environment = {**os.environ, "IOCONNECT_HOME": str(tmp_path)}
    with Terminal([sys.executable, "-m", "ioconnect", *arguments], env=environment) as person:
        person.expect(shown)
        person.hang_up()
        assert person.leave()[0] in (ExitCode.INTERRUPTED, ExitCode.OS_ERROR)
