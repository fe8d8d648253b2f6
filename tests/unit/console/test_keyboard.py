"""Keys as terminals send them."""

from __future__ import annotations

import pytest

from ioconnect.console.keyboard import Key, meanings


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        (b"q", [Key.QUIT]),
        (b"Q\x04", [Key.QUIT, Key.QUIT]),
        (b"jk", [Key.DOWN, Key.UP]),
        (b"\x1b[A\x1b[B", [Key.UP, Key.DOWN]),
        (b"\x1bOA\x1bOB", [Key.UP, Key.DOWN]),  # application mode
        (b"\x1b[5~\x1b[6~ b", [Key.PAGE_UP, Key.PAGE_DOWN, Key.PAGE_DOWN, Key.PAGE_UP]),
        (b"gG\x1b[H\x1b[F", [Key.TOP, Key.BOTTOM, Key.TOP, Key.BOTTOM]),
        (b"x\x1b\xff\x1b[1;5Q\x1b[", []),  # no key of ours, also not the q-like end of a sequence
    ],
)
def test_what_keys_mean(typed: bytes, keys: list[Key]) -> None:
    assert meanings(typed) == keys
