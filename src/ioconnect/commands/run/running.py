"""Start, stop and nudge the agent, as the commands do."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.console.selection import chosen, tunnel
from ioconnect.errors import AgentNotRunning, ExitCode, Fault, IdentityMissing, IdentityUnreadable

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

    from ioconnect.console.invocation import Call

STOP_WITHIN = 10.0  # seconds; the agent itself takes at most 5 to leave cleanly


def run(call: Call, names: Sequence[str], ready_fd: int | None, *, log_to_file: bool = False) -> ExitCode:
    """Be the agent until it is told to stop; with `ready_fd` as the child of `start`, which listens there.

    That one logs to the file, and so does launchd's (`log_to_file`): what launchd opens for a job, nobody rotates.
    """
    from ioconnect.agent.process import daemon  # noqa: PLC0415  brings paramiko

    if ready_fd is None:
        _refuse_a_second(call)
    config = call.config
    wanted = chosen(config, names) if names else ()
    to_file = log_to_file or ready_fd is not None
    return daemon.run(config, call.paths, wanted, ready_fd=ready_fd, to_file=to_file, verbose=call.verbose)


def start(call: Call, names: Sequence[str], wait: float) -> ExitCode:
    """Start the agent in the background and wait until all is connected, at most `wait` seconds."""
    from ioconnect.agent.process import launch  # noqa: PLC0415
    from ioconnect.status import lock  # noqa: PLC0415

    _refuse_a_second(call)
    wanted = chosen(call.config, names)  # a fault is better said here than by the child
    named = ["--", *wanted] if names else []
    _make_absolute(os.environ)
    try:
        with call.terminal.busy("starting the agent"):
            outcome = launch.start(call.paths, [*_options(call), "up", *named], wait=wait, progress=call.terminal.say)
    except KeyboardInterrupt:
        if lock.holder(call.paths.lock) is not None:
            call.terminal.say("\nThe agent goes on in the background; ioconnect down ends it.")
        raise
    if outcome.code is not ExitCode.OK:
        fault = Fault(outcome.message, hint=outcome.hint)
        fault.exit_code = outcome.code
        raise fault
    call.terminal.say(outcome.message)
    return ExitCode.OK


def _refuse_a_second(call: Call) -> None:
    """Raise AlreadyRunning, which is no failure: cron repeats `up`, whatever has become of the configuration."""
    from ioconnect.status import lock  # noqa: PLC0415

    pid = lock.holder(call.paths.lock)
    if pid is not None:
        raise lock.AlreadyRunning(pid)


def stop(call: Call) -> None:
    """Stop the agent and wait until it is gone; fine if none runs."""
    from ioconnect.agent.process import launch  # noqa: PLC0415
    from ioconnect.installers import service_manager  # noqa: PLC0415
    from ioconnect.status import lock  # noqa: PLC0415

    running = lock.holder(call.paths.lock)
    supervisor = service_manager.supervisor_of(running) if running else None
    with call.terminal.busy("stopping the agent"):
        pid = launch.stop(call.paths, deadline=STOP_WITHIN)
    if pid is not None:
        call.terminal.say(f"Stopped the agent (pid {pid}).")
        if supervisor is not None:
            call.terminal.say(f"{supervisor.name} starts it again {supervisor.again}. To stop it: {supervisor.stop}")
        return
    call.terminal.say("No agent is running.")
    other = service_manager.machines_agent(call.paths, os.environ)
    if other is not None:
        call.terminal.say(f"But {other.whose} is; to stop it: {other.supervisor.stop}")


def reload(call: Call) -> None:
    """Make the agent read the configuration again.

    Raises AgentNotRunning, and what the agent would refuse, before it is told: ConfigInvalid, HostKeyUnpinned.
    """
    from ioconnect.agent.process import launch, preflight  # noqa: PLC0415
    from ioconnect.status import lock  # noqa: PLC0415

    if lock.holder(call.paths.lock) is None:
        raise AgentNotRunning("the agent is not running", hint=launch.NOT_RUNNING)
    config = call.config
    chosen(config, ())
    # A service may have its identity from where we cannot look: that is for the agent to judge.
    with contextlib.suppress(IdentityMissing, IdentityUnreadable):
        preflight.check(config, call.paths)
    launch.signal_agent(call.paths, signal.SIGHUP)
    call.terminal.say("The agent reads its configuration again.")


def reconnect(call: Call, name: str | None) -> None:
    """Make the agent try now. Raises UsageFault if there is no tunnel of that name, AgentNotRunning."""
    from ioconnect.agent.process import launch  # noqa: PLC0415

    launch.reconnect(call.paths, None if name is None else tunnel(call.config, name).name)
    call.terminal.say("The agent tries now.")


def _options(call: Call) -> list[str]:
    options = ["-v"] * call.verbose
    return options if call.config_file is None else ["--config", str(call.config_file.absolute()), *options]


def _make_absolute(environ: MutableMapping[str, str]) -> None:
    """Make what the environment says of files true in `/` too, where the agent runs."""
    for name in ("IOCONNECT_HOME", "IOCONNECT_CONFIG"):
        if environ.get(name):
            environ[name] = str(Path(environ[name]).expanduser().absolute())
