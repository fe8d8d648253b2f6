"""`ioconnect logs`: the last lines of the agent's log, and those that follow."""

from __future__ import annotations

import contextlib
import os
import time
from functools import partial
from typing import TYPE_CHECKING

import click

from ioconnect.console.command_group import command, name_argument
from ioconnect.console.selection import check_known
from ioconnect.console.terminal import answer
from ioconnect.errors import ConfigInvalid
from ioconnect.installers.installed import of_another_account
from ioconnect.installers.journal import journal_of
from ioconnect.installers.service import Kind
from ioconnect.installers.service_manager import system_log_hint
from ioconnect.status import log_reader
from ioconnect.status.log_filter import LEVELS, LogFilter, parse_since

if TYPE_CHECKING:
    from collections.abc import Callable

    from ioconnect.console.invocation import Invocation

MAX_LINES = 1_000_000
DEFAULT_LINES = 100


class Since(click.ParamType):  # type: ignore[type-arg]  # no [] at run time
    """A time, or how long ago."""

    name = "time"

    def convert(self, value: object, parameter: click.Parameter | None, context: click.Context | None) -> float:
        """Return seconds since the epoch."""
        try:
            return parse_since(str(value), time.time())
        except ValueError:
            self.fail(f"{value!r} is neither like 1h, 30m, 2d nor like 2026-11-22T10:00", parameter, context)


@command(
    "logs",
    examples=["ioconnect logs -n 20", "ioconnect logs -f", "ioconnect logs orders --since 1h --level warning"],
)
@name_argument
@click.option("-f", "--follow", is_flag=True, help="Go on with what is added, until Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0, MAX_LINES),
    metavar="N",
    help="How many (100; with --since all).",
)
@click.option("--since", type=Since(), metavar="WHEN", help="Only from 1h, 30m or 2d ago on, or from an ISO time on.")
@click.option("--level", type=click.Choice(LEVELS), help="Only lines of this level and above (info; with -v debug).")
@click.pass_obj
def logs(
    invocation: Invocation,
    name: str | None,
    lines: int | None,
    since: float | None,
    level: str | None,
    *,
    follow: bool,
) -> None:
    """Show the daemon's log.

    With a NAME only the lines of that tunnel; under systemd those of the journal. Single connections are in it only
    if the agent runs with -v, and shown only with -v.
    """
    wanted = LogFilter(name, since, level or ("debug" if invocation.verbose else "info"))
    count = lines if lines is not None else DEFAULT_LINES if since is None else MAX_LINES
    paths = invocation.paths
    journal = journal_of(paths, os.environ)
    if journal is not None:
        last_lines, following = journal.last_lines, journal.follow
    else:
        last_lines = partial(log_reader.last_lines, paths.log)
        following = partial(log_reader.follow, paths.log)
    if name is not None:
        _check_name(invocation, name, last_lines)
    if journal is None:
        _say_where(invocation, () if name is None else (name,))
    for line in (following if follow else last_lines)(count, wanted):
        answer(line)


def _say_where(invocation: Invocation, names: tuple[str, ...]) -> None:
    """Say whose log it is not, or that there is none: the agent of another account has its own."""
    log = invocation.paths.log
    other = of_another_account(invocation.paths, os.environ)
    is_elsewhere = other is not None and not any(each.startswith("IOCONNECT_HOME=") for each in other.variables)
    if other is not None and is_elsewhere and other.kind is not Kind.SYSTEMD:
        line = other.line("logs", *names)
        invocation.terminal.say(f"The agent of this configuration runs as {other.account}. Its log: {line}")
    elif not log_reader.exists(log):
        invocation.terminal.say(f"There is no log yet at {log}.{system_log_hint()}")


def _check_name(invocation: Invocation, name: str, last_lines: Callable[[int, LogFilter], list[str]]) -> None:
    """Raise UsageFault for a tunnel that is neither configured nor in the log.

    With a configuration that cannot be read any name may be a tunnel's.
    """
    with contextlib.suppress(ConfigInvalid):
        config = invocation.config
        names = [
            *(tunnel.name for tunnel in config.tunnels),
            *(name for file in config.invalid for name in file.names),
        ]
        if name not in names and not last_lines(1, LogFilter(name)):
            check_known([name], names)
