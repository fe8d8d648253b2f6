"""A marked block in a crontab, every other byte of which stays as it was (crontab(5)).

Pure.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from ioconnect.errors import ExitCode, SystemRefused
from ioconnect.installers.service import Command

if TYPE_CHECKING:
    from ioconnect.installers.service import Service

BEGIN = "# BEGIN ioconnect"
END = "# END ioconnect"
LONGEST_COMMAND = 998  # Debian's and BSD's cron read a command into 1000 bytes; cronie takes more

_BLOCK = re.compile(rb"^# BEGIN ioconnect[ \t]*\r?\n.*?^# END ioconnect[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_MARK = re.compile(rb"^# (?:BEGIN|END) ioconnect[ \t]*\r?$", re.MULTILINE)


def block(service: Service) -> bytes:
    """Return the block: the agent at boot, and every five minutes in case it is gone (`up --daemon` is idempotent).

    Nothing is taken from the crontab's own variables, whatever it sets. Raises SystemRefused for what
    cron cannot run.
    """
    command = _command(service)
    lines = [
        BEGIN,
        "# Written by `ioconnect install-service`. The agent logs for itself; `ioconnect status` says how it is.",
        f"@reboot {command}",
        f"*/5 * * * * {command}",
        END,
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def with_block(table: bytes, new: bytes) -> bytes:
    """Return the crontab with `new` in place of the block that is there, else at its end."""
    found = _find(table)
    if found is not None:
        return table[: found.start()] + new + table[found.end() :]
    # A last line without its newline is one that cron refuses or ignores; ours must not become part of it.
    return table + (b"\n" if table and not table.endswith(b"\n") else b"") + new


def without_block(table: bytes) -> bytes:
    """Return the crontab without the block; the same bytes if there is none."""
    found = _find(table)
    return table if found is None else table[: found.start()] + table[found.end() :]


def block_in(table: bytes) -> bytes | None:
    """Return the block as it stands there, or None. Raises SystemRefused if its marks do not pair up."""
    found = _find(table)
    return None if found is None else found.group()


def _find(table: bytes) -> re.Match[bytes] | None:
    marks = len(_MARK.findall(table))
    found = _BLOCK.search(table)
    if marks != (2 if found else 0):
        raise SystemRefused(
            f"the crontab has {marks} lines of the marks “{BEGIN}” and “{END}”, which are no pair",
            hint="Remove what is left of the block with `crontab -e`, then try again.",
        )
    return found


def start(service: Service) -> Command:
    """Return what cron would run, to be run now; that it is not connected yet (75) is no fault."""
    whose = ("runuser", "-u", service.run_as, "--") if service.run_as else ()
    return Command((*whose, *_words(service)), tolerated=(ExitCode.TEMP_FAIL,))


def _words(service: Service) -> tuple[str, ...]:
    environment = {"HOME": str(service.home), "PATH": "/usr/local/bin:/usr/bin:/bin", **dict(service.environment)}
    variables = (f"{name}={value}" for name, value in environment.items())
    return ("/usr/bin/env", "-i", *variables, *service.command, "up", "--daemon")


def _command(service: Service) -> str:
    words = _words(service)
    if any("\\" in word for word in words):
        # Whether a backslash is cron's own or the shell's differs between crons.
        raise SystemRefused(
            "a path with a backslash cannot be written into a crontab safely",
            hint="Move ioconnect or its configuration to a path without one.",
        )
    command = " ".join(_quoted(word) for word in words).replace("%", r"\%") + " >/dev/null 2>&1"
    if len(command.encode()) > LONGEST_COMMAND:
        raise SystemRefused(
            f"the command is {len(command.encode())} bytes long, cron takes {LONGEST_COMMAND}",
            hint="Move ioconnect or its configuration to a shorter path.",
        )
    return command


def _quoted(word: str) -> str:
    """Quote for sh, csh and fish alike: the crontab may name any of them as its SHELL."""
    name, equals, value = word.partition("=")
    if equals and name.isidentifier():
        return f"{name}={shlex.quote(value)}"
    return shlex.quote(word)
