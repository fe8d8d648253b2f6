"""Control characters in text from remote hosts are escaped."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ioconnect.escape import escaped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, ünïcode", "plain text, ünïcode"),
        ("\x1b[2J\x07", "\\x1b[2J\\x07"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\u202eright to left", "\\u202eright to left"),
        ("\ud800", "\\ud800"),
        (b"caf\xe9\x00", "caf\\xe9\\x00"),
        ("", ""),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str | bytes, shown: str) -> None:
    assert escaped(text) == shown


def test_what_is_too_long_ends_in_dots() -> None:
    assert escaped("x" * 300) == "x" * 300
    assert escaped("x" * 301) == "x" * 299 + "…"


@given(st.binary(max_size=60), st.integers(1, 8))
@example(("é" * 9).encode(), 8)
@example(("x" + "\U0001f600" * 9).encode(), 8)
def test_what_is_beyond_the_limit_changes_nothing(text: bytes, limit: int) -> None:
    """Bytes are cut before they are decoded, also in the middle of a character."""
    assert escaped(text, limit=limit) == escaped(text.decode("utf-8", "backslashreplace"), limit=limit)


@pytest.mark.parametrize("piece", [b"x", b"\xff", "\n"], ids=["ascii", "binary", "text"])
def test_a_long_text_takes_no_time(piece: str | bytes) -> None:
    """A jumphost may send texts without end: decoding 8 MiB that are not UTF-8 took a second."""
    text = piece * (8 << 20)
    begin = time.thread_time()
    shown = escaped(text)

    assert time.thread_time() - begin < 0.05
    assert len(shown) == 300


@given(st.text() | st.binary(), st.integers(1, 100))
def test_any_text_becomes_one_printable_line_within_the_limit(text: str | bytes, limit: int) -> None:
    shown = escaped(text, limit=limit)

    assert shown.isprintable()
    assert len(shown) <= limit
