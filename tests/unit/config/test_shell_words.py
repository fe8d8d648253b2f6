"""Words of a shell command line: those of `shlex`, in a time that is linear in their length."""

from __future__ import annotations

import shlex
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ioconnect.config import shell_words

TEXTS = st.text(st.sampled_from(" \t\r\n;&|<>()'\"\\\\ab-R:/=$\u00a0\u00e9"), max_size=30)


def by_shlex(text: str, *, operators: bool) -> list[str] | None:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=shell_words.OPERATORS if operators else False)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError:
        return None


def ours(text: str, *, operators: bool) -> list[str] | None:
    try:
        return list(shell_words.tokens(text)) if operators else shell_words.words(text)
    except ValueError:
        return None


@given(TEXTS)
@example("a''b \"\" '' \"a\\\\\\\"b\\c\" \\; x>y 2>&1 'é'")
def test_they_are_those_of_shlex(text: str) -> None:
    for operators in (True, False):
        assert ours(text, operators=operators) == by_shlex(text, operators=operators)


@pytest.mark.parametrize("quote", ["", "'", '"'])
@pytest.mark.parametrize("end", [True, False])
def test_a_long_word_is_read_in_no_time(quote: str, *, end: bool) -> None:
    """`shlex` copies a word for each of its characters, and takes ten seconds."""
    begin = time.thread_time()
    ours(quote + "a" * (1 << 20) + quote * end, operators=True)

    assert time.thread_time() - begin < 1
