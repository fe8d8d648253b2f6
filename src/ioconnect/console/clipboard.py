"""Copies a text to the user's clipboard: by a program of the desktop, in a session of ssh by OSC 52."""

from __future__ import annotations

import base64
import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TextIO

COPY_TIMEOUT = 2.0  # seconds; a client hangs if its display is gone


def copy(text: str, screen: TextIO, environ: Mapping[str, str]) -> str | None:
    """Copy `text` and return how, as a message; None if there is no clipboard.

    `screen` must be a terminal that takes control characters. In a session of ssh the clipboard is at the other end,
    and the terminal there is asked with OSC 52 (xterm's ctlseqs); no terminal says whether it did so.
    """
    for argv in programs(environ, sys.platform):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            # xclip and wl-copy stay in the background to serve the clipboard, and would keep our pipes open.
            subprocess.run(  # noqa: S603  the commands are ours, no shell reads them
                argv,
                input=text.encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=COPY_TIMEOUT,
                check=True,
            )
            return "copied to the clipboard"
    if _is_remote(environ):
        screen.write(osc52(text))
        screen.flush()
        return "sent to your terminal's clipboard, if it has one"
    return None


def programs(environ: Mapping[str, str], platform: str) -> list[Sequence[str]]:
    """Return the commands that may reach the clipboard, the best first."""
    found: list[Sequence[str]] = []
    if environ.get("WAYLAND_DISPLAY"):
        found.append(("wl-copy",))
    if environ.get("DISPLAY"):
        found += [("xclip", "-selection", "clipboard"), ("xsel", "--clipboard", "--input")]
    if platform == "darwin" and not _is_remote(environ):  # else it would be the remote machine's
        found.append(("pbcopy",))
    return found


def osc52(text: str) -> str:
    """Return the sequence that puts `text` on a terminal's clipboard (xterm's ctlseqs, Operating System Commands)."""
    return f"\x1b]52;c;{base64.b64encode(text.encode()).decode()}\a"


def _is_remote(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"))
