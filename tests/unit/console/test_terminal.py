"""What is said to a person has no control characters of somebody else's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ioconnect.console.terminal import Terminal
from ioconnect.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Callable

FOREIGN = "one \x1b[2J\r\x07"


@pytest.mark.parametrize(
    "say",
    [
        lambda terminal: terminal.say(f"{FOREIGN}\ntwo"),
        lambda terminal: terminal.done(FOREIGN),
        lambda terminal: terminal.heading(FOREIGN),
        lambda terminal: terminal.warn(UsageFault(f"{FOREIGN}\ntwo", hint=FOREIGN)),
    ],
)
def test_control_characters_are_escaped(say: Callable[[Terminal], None], capsys: pytest.CaptureFixture[str]) -> None:
    say(Terminal())

    said = capsys.readouterr().err
    assert "one \\x1b[2J" in said
    assert all(line.isprintable() for line in said.split("\n"))


def test_lines_stay_lines(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().say("one\n\n  two\n")

    assert capsys.readouterr().err == "one\n\n  two\n\n"
