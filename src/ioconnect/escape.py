"""Escapes control characters in text from remote hosts and files, so that no terminal interprets them.

Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import PurePath

MAX_PATH = 4096  # characters, as Linux's PATH_MAX
LONGEST_CHARACTER = 4  # bytes in UTF-8


def escaped_path(path: PurePath) -> str:
    """Return a path on one line: whoever may write in a folder chooses the names of its files."""
    return escaped(str(path), limit=MAX_PATH)


def escaped(text: str | bytes, *, limit: int = 300) -> str:
    """Return `text` on one line with control and unprintable characters escaped, at most `limit` long.

    The time it takes is bounded by `limit`: what is beyond is not looked at.
    """
    if isinstance(text, bytes):
        text = text[: LONGEST_CHARACTER * (limit + 1)].decode("utf-8", "backslashreplace")
    if len(text) <= limit and text.isprintable():
        return text
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
