"""A person at a terminal: runs a command on a pseudo-terminal, waits for what it shows, types answers."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import subprocess
import termios
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self

CTRL_C, CTRL_D = "\x03", "\x04"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Terminal:
    """A running command whose terminal this is; standard output may be captured beside it. A context manager."""

    def __init__(self, argv: Sequence[str], *, env: Mapping[str, str], capture_stdout: bool = False) -> None:
        self.seen = ""
        self._read_to = 0
        self._master, slave = pty.openpty()
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=slave,
                stdout=subprocess.PIPE if capture_stdout else slave,
                stderr=slave,
                env={**env, "TERM": "xterm"},
                start_new_session=True,
                preexec_fn=_take_terminal,  # noqa: PLW1509  one system call; Ctrl-C needs a controlling terminal
            )
        finally:
            os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)
        if self._process.stdout is not None:
            self._process.stdout.close()
        os.close(self._master)

    def expect(self, text: str, *, deadline: float = 20) -> None:
        """Wait until `text` is shown, after what was waited for before."""
        end = time.monotonic() + deadline
        while (found := self.text.find(text, self._read_to)) < 0:
            if not self._read(end):
                pytest.fail(f"{text!r} was not shown; this was:\n{self.seen}")
        self._read_to = found + len(text)

    @property
    def text(self) -> str:
        """What was seen so far, without its colours."""
        return _COLOURS.sub("", self.seen)

    def type(self, text: str) -> None:
        """Type the text and the return key."""
        self.press(text + "\n")

    def press(self, keys: str) -> None:
        """Press these keys only."""
        os.write(self._master, keys.encode("utf-8", "surrogateescape"))

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the command."""
        self._process.send_signal(number)

    def hang_up(self) -> None:
        """Take the terminal away, as a closed window or a lost connection does."""
        os.close(self._master)
        self._master = os.open(os.devnull, os.O_RDWR)

    def leave(self, *, deadline: float = 20) -> tuple[int, str]:
        """Wait for the command's end; return its code and its captured standard output."""
        end = time.monotonic() + deadline
        while self._read(end):
            pass
        stdout = self._process.stdout.read().decode() if self._process.stdout is not None else ""
        try:
            return self._process.wait(max(0.1, end - time.monotonic())), stdout
        except subprocess.TimeoutExpired:
            pytest.fail(f"did not end; this was shown:\n{self.seen}")

    def _read(self, end: float) -> bool:
        """Read what is shown next; False if that is nothing any more."""
        if not select.select([self._master], [], [], max(0.0, end - time.monotonic()))[0]:
            return False
        with contextlib.suppress(OSError):  # EIO: the other side has closed (Linux)
            shown = os.read(self._master, 65536)
            self.seen += shown.decode(errors="replace").replace("\r\n", "\n")
            return shown != b""
        return False


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
