"""The man page is what the commands say of themselves."""

from __future__ import annotations

from pathlib import Path

from scripts.manpage import page

from ioconnect.cli import cli

FILE = Path(__file__).resolve().parents[2] / "man" / "ioconnect.1"


def test_the_page_is_the_one_that_the_commands_make() -> None:
    assert page() == FILE.read_text(), "make it anew: ./run python -m scripts.manpage > man/ioconnect.1"


def test_every_command_and_option_is_in_it() -> None:
    shown = page().replace("\\-", "-")
    options = {
        name
        for command in cli.commands.values()
        for option in command.params
        if not getattr(option, "hidden", False)
        for name in option.opts + option.secondary_opts
        if name.startswith("-")
    }

    assert [name for name in cli.commands if f"\n.SS {name}" not in shown] == []
    assert sorted(name for name in options if name not in shown) == []
    assert "--ready-fd" not in shown


def test_no_line_begins_with_what_roff_would_obey_by_mistake() -> None:
    """Only macros that this page uses."""
    known = {"TH", "SH", "SS", "PP", "TP", "B", "BR", "I", "RI", "EX", "EE"}

    used = {line[1:].split()[0] for line in page().splitlines() if line.startswith((".", "'"))}

    assert used <= known
