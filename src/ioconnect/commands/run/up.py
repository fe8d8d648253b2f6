"""`ioconnect up`: be the agent, or start it in the background."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ioconnect.agent.process import launch
from ioconnect.console.command_group import command, names_argument
from ioconnect.console.selection import chosen
from ioconnect.errors import ExitCode, Fault
from ioconnect.status import lock

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

    from ioconnect.console.invocation import Invocation


@command("up", examples=["ioconnect up", "ioconnect up orders --daemon --wait 10"])
@names_argument
@click.option("--daemon", is_flag=True, help="Go on in the background; return once all tunnels are connected.")
@click.option(
    "--wait",
    type=click.FloatRange(0, 3600),
    default=30.0,
    metavar="S",
    help="With --daemon: return 75 if one is not connected after S seconds (30); it keeps trying.",
)
@click.option("--ready-fd", type=click.IntRange(3), hidden=True)
@click.option("--log-to-file", is_flag=True, hidden=True)
@click.pass_obj
def up(
    invocation: Invocation,
    names: tuple[str, ...],
    wait: float,
    ready_fd: int | None,
    *,
    daemon: bool,
    log_to_file: bool,
) -> ExitCode:
    """Keep all tunnels, or the named ones, up.

    Runs in the foreground until Ctrl-C, TERM or `ioconnect down`. Already running: says so and leaves with 0, so
    cron may repeat it.
    """
    if daemon:
        return start_agent(invocation, names, wait)
    return _run_agent(invocation, names, ready_fd, log_to_file=log_to_file)


def _run_agent(invocation: Invocation, names: Sequence[str], ready_fd: int | None, *, log_to_file: bool) -> ExitCode:
    """Run the agent in this process; `ready_fd` is given by `launch.start`, which reads the readiness from it.

    The daemon logs to the file. With `log_to_file` so does an agent in the foreground: launchd opens a file for a
    job's output, and nobody rotates that.
    """
    from ioconnect.agent.process import daemon  # noqa: PLC0415  not needed by --daemon, which cron repeats

    if ready_fd is None:
        _refuse_second_agent(invocation)
    config = invocation.config
    wanted = chosen(config, names) if names else ()
    to_file = log_to_file or ready_fd is not None
    return daemon.run(
        config, invocation.paths, wanted, ready_fd=ready_fd, to_file=to_file, verbose=invocation.verbose
    )


def start_agent(invocation: Invocation, names: Sequence[str], wait: float) -> ExitCode:
    """Start the agent in the background and wait until every tunnel is connected, at most `wait` seconds.

    Raises the Fault that kept it from starting; its exit code is TEMP_FAIL if the agent runs and is not connected.
    """
    terminal = invocation.terminal
    _refuse_second_agent(invocation)
    wanted = chosen(invocation.config, names)  # here a fault is shown as what it is, not as a daemon that ended
    named = ["--", *wanted] if names else []
    _make_absolute(os.environ)
    try:
        with terminal.busy("starting the agent"):
            arguments = [*_global_options(invocation), "up", *named]
            outcome = launch.start(invocation.paths, arguments, wait=wait, progress=terminal.say)
    except KeyboardInterrupt:
        if lock.holder(invocation.paths.lock) is not None:
            terminal.say("\nThe agent goes on in the background; ioconnect down ends it.")
        raise
    if outcome.code is not ExitCode.OK:
        fault = Fault(outcome.message, hint=outcome.hint)
        fault.exit_code = outcome.code
        raise fault
    terminal.say(outcome.message)
    return ExitCode.OK


def _refuse_second_agent(invocation: Invocation) -> None:
    """Raise AlreadyRunning before the configuration is read: cron repeats `up`, whatever has become of that."""
    pid = lock.holder(invocation.paths.lock)
    if pid is not None:
        raise lock.AlreadyRunning(pid)


def _global_options(invocation: Invocation) -> list[str]:
    """Return this invocation's options for the daemon, which runs in `/`."""
    verbosity = ["-v"] * invocation.verbose
    file = invocation.config_file
    return verbosity if file is None else ["--config", str(file.absolute()), *verbosity]


def _make_absolute(environ: MutableMapping[str, str]) -> None:
    """Make the files that the environment names absolute: the daemon inherits it and runs in `/`."""
    for name in ("IOCONNECT_HOME", "IOCONNECT_CONFIG"):
        if environ.get(name):
            environ[name] = str(Path(environ[name]).expanduser().absolute())
