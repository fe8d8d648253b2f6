"""`ioconnect up`: be the agent, or start it in the background."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from ioconnect import __version__
from ioconnect.agent.process import launch
from ioconnect.agent.supervisor.background_jobs import BackgroundThread
from ioconnect.agent.supervisor.publish import summary
from ioconnect.commands.run.agent import changed, changes, document, message, outdated, seen, stopped_by_name
from ioconnect.config import configuration
from ioconnect.config.paths import absolute
from ioconnect.console.command_group import command, json_option, names_argument
from ioconnect.console.selection import chosen
from ioconnect.console.terminal import answer
from ioconnect.custody.files import ROOT_ALONE
from ioconnect.errors import ExitCode, Fault
from ioconnect.status import control, lock, overview
from ioconnect.status.lock import AlreadyRunning
from ioconnect.status.observe import ask
from ioconnect.status.records import Silence, Snapshot, carries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence

    from ioconnect.config.configuration import Config
    from ioconnect.config.paths import Paths
    from ioconnect.console.invocation import Invocation

POLL_INTERVAL = 0.25  # seconds between questions to an agent that is to connect


@command(
    "up",
    examples=[
        "ioconnect up",
        "ioconnect up orders --daemon --wait 10",
        "ioconnect up --daemon --json | jq '.tunnels[] | {name, outcome, state}'",
    ],
)
@names_argument
@click.option("--daemon", is_flag=True, help="Go on in the background; return once all tunnels are connected.")
@click.option(
    "--wait",
    type=click.FloatRange(0, 3600),
    default=30.0,
    metavar="S",
    help="With --daemon: return 75 if one is not connected after S seconds (30); it keeps trying.",
)
@json_option
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

    Runs in the foreground until Ctrl-C, TERM or `ioconnect down`. With an agent running, has it start those that it
    lacks, and leaves: cron may repeat it. What `down NAME` stopped, only `up NAME` starts there. In the foreground
    the answer of --json comes once every tunnel is connected or has failed for the first time.
    """
    if ready_fd is None:
        _refuse_beside_service(invocation.paths)
    if daemon:
        return start_agent(invocation, names, wait)
    if ready_fd is None and (pid := control.running_pid(invocation.paths)) is not None:
        return _have_running_agent_start(invocation, names, AlreadyRunning(pid))
    try:
        return _run_agent(invocation, names, ready_fd, log_to_file=log_to_file)
    except AlreadyRunning as running:  # another `up` was faster; with a `ready_fd`, whoever started us is told by it
        return _have_running_agent_start(invocation, names, running) if ready_fd is None else ExitCode.OK


def _refuse_beside_service(paths: Paths) -> None:
    """Raise SystemRefused if root would start an agent beside the installed service's; one that runs is told.

    Raises AgentSilent as `control.running_pid`.
    """
    if os.geteuid() == 0 and control.running_pid(paths) is None:
        from ioconnect.installers.installed import refuse_second_agent_of_root  # noqa: PLC0415  root only

        refuse_second_agent_of_root(paths, os.environ)


def _run_agent(invocation: Invocation, names: Sequence[str], ready_fd: int | None, *, log_to_file: bool) -> ExitCode:
    """Run the agent in this process; `ready_fd` is given by `launch.start`, which reads the readiness from it.

    The daemon logs to the file. With `log_to_file` so does an agent in the foreground: launchd opens a file for a
    job's output, and nobody rotates that.
    """
    from ioconnect.agent.process import daemon  # noqa: PLC0415  not needed by --daemon, which cron repeats

    config = _config(invocation)
    wanted = chosen(config, names) if names else ()
    to_file, verbose = log_to_file or ready_fd is not None, invocation.verbose
    with _answering(invocation) as settled:
        return daemon.run(
            config, invocation.paths, wanted, ready_fd=ready_fd, to_file=to_file, verbose=verbose, settled=settled
        )


@contextlib.contextmanager
def _answering(invocation: Invocation) -> Iterator[Callable[[Snapshot], None] | None]:
    """Yield what prints the answer of `--json` while the agent runs in this process; None without `--json`.

    It is printed by another thread, as nobody may read it. An agent that ends before has started none.
    """
    if not invocation.as_json:
        yield None
        return
    with contextlib.ExitStack() as closing:

        def settled(snapshot: Snapshot) -> None:
            outcomes = dict.fromkeys((tunnel.name for tunnel in snapshot.tunnels), "started")
            told = document(snapshot, outcomes, was_running=False)
            try:
                printer = BackgroundThread("answer printer")  # not before: it inherits the agent's signal mask
            except RuntimeError:  # "can't start new thread": told when the agent ends
                invocation.document = told
                return
            invocation.as_json = False  # this is the one document
            text = json.dumps(told, indent=2)
            closing.callback(printer.close)
            printer.put("answer", lambda: _print_answer(text))

        yield settled
    if invocation.as_json and not invocation.document:
        ended = Snapshot(running=False, pid=None, version=__version__, started_at=None, tunnels=())
        invocation.document = document(ended, {}, was_running=False)


def _print_answer(text: str) -> None:
    with contextlib.suppress(OSError):  # the reader has left
        answer(text)


def _config(invocation: Invocation) -> Config:
    """Return the configuration as the agent trusts it. Raises ConfigInvalid."""
    return configuration.load(invocation.paths.config, trusted=ROOT_ALONE)


def start_agent(invocation: Invocation, names: Sequence[str], wait: float) -> ExitCode:
    """Start the agent in the background and wait until every tunnel is connected, at most `wait` seconds.

    Raises the Fault that kept it from starting; its exit code is TEMP_FAIL if the agent runs and is not connected.
    """
    terminal = invocation.terminal
    pid = control.running_pid(invocation.paths)
    if pid is not None:
        return _have_running_agent_start(invocation, names, AlreadyRunning(pid), wait)
    wanted = chosen(_config(invocation), names)  # here a fault is shown as what it is, not as a daemon that ended
    named = ["--", *wanted] if names else []
    _make_absolute(os.environ)
    try:
        with terminal.busy("starting the agent"):
            arguments = [*_global_options(invocation), "up", *named]
            outcome = launch.start(invocation.paths, arguments, wait=wait, progress=terminal.say)
    except AlreadyRunning as running:  # another `up` was faster
        return _have_running_agent_start(invocation, names, running, wait)
    except KeyboardInterrupt:
        if lock.holder(invocation.paths.lock) is not None:
            terminal.say("\nThe agent goes on in the background; ioconnect down ends it.")
        raise
    if outcome.pid is not None:  # it runs
        _keep_document(invocation, dict.fromkeys(wanted, "started"), started=outcome.pid)
    if outcome.code is not ExitCode.OK:
        fault = Fault(outcome.message, hint=outcome.hint)
        fault.exit_code, fault.code = outcome.code, outcome.reason
        raise fault
    terminal.say(outcome.message)
    return ExitCode.OK


def _have_running_agent_start(
    invocation: Invocation, names: Sequence[str], running: AlreadyRunning, wait: float | None = None
) -> ExitCode:
    """Have the running agent start these tunnels (none named: all) unless it runs them.

    Waits until they are well, at most `wait` seconds; None: not at all. Raises AgentNotRunning, AgentSilent, and the
    Fault for which the agent refuses or a tunnel is not well.
    """
    done = changed(control.change(invocation.paths, "/v1/up", message(invocation, names, reads_config=True)))
    invocation.terminal.say(f"{running.message}: {changes(done, added='started')}.")
    for remark in (*outdated(done), *stopped_by_name(done)):
        invocation.terminal.say(remark)
    outcomes = {name: group for group in ("unchanged", "outdated", "not_started") for name in done[group]}
    outcomes |= dict.fromkeys(done["added"], "started")
    try:
        if wait is not None:
            wanted = [name for name, outcome in outcomes.items() if outcome != "not_started"]
            with invocation.terminal.busy("waiting for the tunnels"):
                _wait_until_connected(invocation, wanted, wait)
    finally:
        _keep_document(invocation, outcomes)
    return ExitCode.OK


def _keep_document(invocation: Invocation, outcomes: Mapping[str, str], *, started: int | None = None) -> None:
    """Have these tunnels, as they are now, be the answer of `--json`; `started` is the pid of an agent we started."""
    if not invocation.as_json:
        return
    snapshot = seen(invocation.paths)
    if started is not None and not snapshot.running:  # it was too slow to take its lock
        silence = Silence.of_process(started)
        snapshot = Snapshot(True, started, version=__version__, started_at=None, tunnels=(), silence=silence)
    invocation.document = document(snapshot, outcomes, was_running=started is None)


def _wait_until_connected(invocation: Invocation, names: Sequence[str], wait: float) -> None:
    """Wait until these tunnels of the running agent are well, at most `wait` seconds. Raises Fault if one is not."""
    end = time.monotonic() + wait
    while True:
        snapshot = ask(invocation.paths)
        chosen_ones = tuple(tunnel for tunnel in snapshot.tunnels if tunnel.name in names)
        lacking = [tunnel for tunnel in chosen_ones if tunnel.enabled and not carries(tunnel)]
        if not lacking:
            return
        if time.monotonic() >= end:
            why = summary(replace(snapshot, tunnels=chosen_ones))
            fault = Fault(f"the agent keeps trying, but after {wait:g} s {why}")
            fault.hint = overview.hint(chosen_ones)
            fault.exit_code = ExitCode.TEMP_FAIL
            raise fault
        time.sleep(POLL_INTERVAL)


def _global_options(invocation: Invocation) -> list[str]:
    """Return this invocation's options for the daemon, which runs in `/`."""
    verbosity = ["-v"] * invocation.verbose
    file = invocation.config_file
    return verbosity if file is None else ["--config", str(file.absolute()), *verbosity]


def _make_absolute(environ: MutableMapping[str, str]) -> None:
    """Make the files that the environment names absolute: the daemon inherits it and runs in `/`."""
    for name in ("IOCONNECT_HOME", "IOCONNECT_CONFIG"):
        if environ.get(name):
            environ[name] = str(absolute(environ[name]))
