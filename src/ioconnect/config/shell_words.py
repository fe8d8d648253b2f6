"""Splits a shell command line into words and operators, as `shlex` does (POSIX shell, section 2.2 and 2.3).

Pure. Takes a time that is linear in the text: `shlex` copies a word for each of its characters.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

OPERATORS = ";&|<>()"
_OPERATOR = re.compile(f"[{OPERATORS}]+")
_BLANKS = re.compile(r"[ \t\r\n]+")
_IN_QUOTES = re.compile(r"\\([\\\"])")  # the backslashes that double quotes do not preserve
_PIECE = re.compile(
    rf"""(?P<plain>[^ \t\r\n{OPERATORS}'"\\]+)|\\(?P<escaped>.)|'(?P<quoted>[^']*)'"""
    r"""|"(?P<in_quotes>[^"\\]*(?:\\.[^"\\]*)*)"|(?P<operator>["""
    rf"{OPERATORS}])",
    re.DOTALL,
)


def tokens(text: str) -> Iterator[str]:
    """Yield the words without their quotes, and the operators between them. Raises ValueError."""
    return _split(text, has_operators=True)


def words(text: str) -> list[str]:
    """Return the words without their quotes; operators are part of them. Raises ValueError."""
    return list(_split(text, has_operators=False))


def _split(text: str, *, has_operators: bool) -> Iterator[str]:
    at = 0
    while at < len(text):
        if blanks := _BLANKS.match(text, at):
            at = blanks.end()
        elif has_operators and (operator := _OPERATOR.match(text, at)):
            yield operator[0]
            at = operator.end()
        else:
            word, at = _word(text, at, has_operators=has_operators)
            yield word


def _word(text: str, at: int, *, has_operators: bool) -> tuple[str, int]:
    """Return the word that begins here, and where it ends."""
    pieces: list[str] = []
    while at < len(text) and not _BLANKS.match(text, at):
        found = _PIECE.match(text, at)
        if found is None:
            raise ValueError("a quote is not closed, or a backslash is the last character")
        if has_operators and found["operator"]:
            break
        if found["in_quotes"] is not None:
            pieces.append(_IN_QUOTES.sub(r"\1", found["in_quotes"]))
        else:
            pieces.append(found["plain"] or found["escaped"] or found["quoted"] or found["operator"] or "")
        at = found.end()
    return "".join(pieces), at
