"""What a terminal shows after a command's output, and that as an SVG.

Pure, but for rich. Understands what ioconnect and rich send: lines, colours, going up and erasing whole lines.
"""

from __future__ import annotations

import io
import re

from rich.console import Console
from rich.text import Text

_PARTS = re.compile(r"(\r|\n|\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\a]*\a)")
_FETCHED_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)  # a picture asks no other server for anything
_CURSOR_AND_REPORTS = re.compile(r"\x1b\[\?[0-9;]*[hl]|\x1b\].*")


def lines_shown(output: str) -> list[str]:
    """Return the lines that are on the screen at the end, with their colours as escape sequences."""
    rows, at, fresh = [""], 0, False
    for part in _PARTS.split(output.replace("\r\n", "\n")):
        if part == "\n":
            at, fresh = at + 1, False
            rows += [""] * (at + 1 - len(rows))
        elif part == "\r":
            fresh = True
        elif part.startswith("\x1b[") and part.endswith("A"):
            at = max(0, at - int(part[2:-1] or 1))
        elif part == "\x1b[2K":
            rows[at] = ""
        elif part and not _CURSOR_AND_REPORTS.fullmatch(part):
            rows[at] = part if fresh else rows[at] + part  # nobody here writes over half a line
            fresh = False
    return rows


def svg(lines: list[str], *, title: str, width: int) -> str:
    """Return the lines as a window of this many columns."""
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for line in lines:
        console.print(Text.from_ansi(line), soft_wrap=False)
    drawn = console.export_svg(title=title, unique_id=re.sub(r"\W", "-", title))
    return _FETCHED_FONT.sub("", drawn)
