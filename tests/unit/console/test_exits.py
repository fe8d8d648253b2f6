"""How a command's process ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import atexit, threading
from ioconnect.console.exits import leave
atexit.register(print, "the interpreter's end")
threading.Thread(target=threading.Event().wait, daemon=True).start() if {thread} else None
leave(75)
"""


@pytest.mark.parametrize(("thread", "said"), [("False", "the interpreter's end\n"), ("True", "")])
def test_a_thread_that_hangs_is_not_stopped_wherever_it_is(thread: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(thread=thread)], capture_output=True, text=True, timeout=30, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (75, said, "")
