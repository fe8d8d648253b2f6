"""A marked block in a crontab; every other byte is preserved (crontab(5)).

Pure.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from ioconnect.errors import ExitCode, SystemRefused
from ioconnect.installers.service import Command

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ioconnect.installers.service import Service

BEGIN = "# BEGIN ioconnect"
END = "# END ioconnect"
MAX_COMMAND = 998  # Debian's and BSD's cron read a command into 1000 bytes; cronie takes more

_MARK = re.compile(rb"^# (BEGIN|END) ioconnect[ \t]*\r?$\n?", re.MULTILINE)


def block(service: Service) -> bytes:
    """Return the block: starts the agent at boot, and every five minutes (`up --daemon` is idempotent).

    The crontab's own variables have no effect on it. Raises SystemRefused for a command that cron cannot run.
    """
    command = _shell_command(service)
    lines = [
        BEGIN,
        "# Written by `ioconnect install-service`. The agent logs for itself; `ioconnect status` says how it is.",
        f"@reboot {command}",
        f"*/5 * * * * {command}",
        END,
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def with_block(table: bytes, new: bytes) -> bytes:
    """Return the crontab with `new` in place of its block, else at its end."""
    found = _find(table)
    if found is not None:
        return table[: found.start] + new + table[found.stop :]
    # cron refuses or ignores a last line without a newline; the block must not become part of it.
    return table + (b"\n" if table and not table.endswith(b"\n") else b"") + new


def without_block(table: bytes) -> bytes:
    """Return the crontab without the block; unchanged if there is none."""
    found = _find(table)
    return table if found is None else table[: found.start] + table[found.stop :]


def block_in(table: bytes) -> bytes | None:
    """Return the crontab's block, or None. Raises SystemRefused if its marks are not a pair."""
    found = _find(table)
    return None if found is None else table[found]


def _find(table: bytes) -> slice | None:
    marks = list(_MARK.finditer(table))
    if marks and [mark[1] for mark in marks] != [b"BEGIN", b"END"]:
        raise SystemRefused(
            f"the crontab has {len(marks)} lines of the marks “{BEGIN}” and “{END}”, which are no pair",
            hint="Remove what is left of the block with `crontab -e`, then try again.",
        )
    return slice(marks[0].start(), marks[1].end()) if marks else None


def starts(block: bytes, config: Path) -> bool:
    """Whether a block, as `block` returns it, starts the agent of this configuration."""
    return block.endswith(f" {_written(_options(config))}\n{END}\n".encode("utf-8", "surrogateescape"))


def command_in(block: bytes) -> tuple[str, ...]:
    """Return the program of a block that `starts` an agent, up to the subcommand, with the `env` before it."""
    line = block.decode("utf-8", "surrogateescape").splitlines()[-2].split(" ", 5)[5]
    return tuple(shlex.split(line.replace(r"\%", "%"))[:-4])  # `up --daemon`, and where its output goes


def start(service: Service) -> Command:
    """Return the command that cron would run, to start the agent now; exit code 75 (not connected) is accepted."""
    return Command(_argv(service), accepted_codes=(ExitCode.TEMP_FAIL,), account=service.run_as)


def _argv(service: Service) -> tuple[str, ...]:
    environment = {"HOME": str(service.home), "PATH": "/usr/local/bin:/usr/bin:/bin", **dict(service.environment)}
    variables = (f"{name}={value}" for name, value in environment.items())
    return ("/usr/bin/env", "-i", *variables, *service.program, *_options(service.config))


def _options(config: Path) -> tuple[str, ...]:
    return ("--config", str(config), "up", "--daemon")


def _shell_command(service: Service) -> str:
    words = _argv(service)
    if any("\\" in word for word in words):
        # Cron implementations differ in whether cron or the shell interprets a backslash.
        raise SystemRefused(
            "a path with a backslash cannot be written into a crontab safely",
            hint="Move ioconnect or its configuration to a path without one.",
        )
    command = _written(words)
    if len(command.encode()) > MAX_COMMAND:
        raise SystemRefused(
            f"the command is {len(command.encode())} bytes long, cron takes {MAX_COMMAND}",
            hint="Move ioconnect or its configuration to a shorter path.",
        )
    return command


def _written(words: Iterable[str]) -> str:
    return " ".join(_quoted(word) for word in words).replace("%", r"\%") + " >/dev/null 2>&1"


def _quoted(word: str) -> str:
    """Quote for sh, csh and fish: the crontab's SHELL may be any of them."""
    name, equals, value = word.partition("=")
    if equals and name.isidentifier():
        return f"{name}={shlex.quote(value)}"
    return shlex.quote(word)
