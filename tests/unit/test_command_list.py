"""The list of commands: what it shows is what the commands say, and a command is imported when it is run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes

from ioconnect.cli import COMMANDS, cli
from ioconnect.console.command_group import LazyCommand

if TYPE_CHECKING:
    from pathlib import Path

ALL = 1000  # characters, more than any summary has
LOADED = (
    "import sys; from ioconnect import cli\n"
    "try: cli.main()\nexcept SystemExit: pass\n"
    "files = [name for name in sys.modules if name.startswith('ioconnect.commands.') and name.count('.') == 3]\n"
    "print(*files, file=sys.stderr)"
)


@pytest.mark.parametrize(("name", "file", "summary"), COMMANDS)
def test_the_list_shows_what_the_command_says(name: str, file: str, summary: str) -> None:
    entry = LazyCommand(name, f"ioconnect.commands.{file}", summary)

    command = entry.load()

    assert command.name == name
    assert command.get_short_help_str(ALL) == entry.get_short_help_str(ALL)
    assert cli.commands[name] is command


@pytest.mark.parametrize(
    ("arguments", "loaded"),
    [
        (["--version"], []),
        (["--help"], []),
        (["statsu"], []),
        (["status"], ["ioconnect.commands.inspect.status"]),
        (["pin", "--help"], ["ioconnect.commands.configure.pin"]),
    ],
)
def test_a_command_is_imported_when_it_is_run(arguments: list[str], loaded: list[str], tmp_path: Path) -> None:
    done = processes.run([sys.executable, "-c", LOADED, *arguments], env={"IOCONNECT_HOME": str(tmp_path)})

    assert done.stderr.splitlines()[-1].split() == loaded
