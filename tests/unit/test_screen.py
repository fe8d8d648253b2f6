"""What the pictures' terminal shows after what ioconnect and rich send."""

from __future__ import annotations

from scripts.screen import lines_shown, svg


def test_a_spinner_leaves_nothing() -> None:
    spinner = "\x1b[?25l\x1b[32m⠋\x1b[0m busy\r\x1b[2K\x1b[32m⠙\x1b[0m busy\n\x1b[?25h\r\x1b[1A\x1b[2K"

    assert lines_shown(f"one\r\n{spinner}two\r\n") == ["one", "two", ""]


def test_a_table_that_is_drawn_again_is_there_once() -> None:
    first, second = "a 1\nb 1", "\r\x1b[2K\x1b[1A\x1b[2Ka 2\nb 2"

    assert lines_shown(first + second + "\n") == ["a 2", "b 2", ""]


def test_what_is_for_the_clipboard_is_not_shown() -> None:
    assert lines_shown("key\x1b]52;c;a2V5\a!") == ["key!"]


def test_a_picture_holds_the_text_and_fetches_nothing() -> None:
    drawn = svg(["\x1b[31mred\x1b[0m"], title="a title", width=20)

    assert ">red<" in drawn
    assert "url(http" not in drawn.replace('"', "")
