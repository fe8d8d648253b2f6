"""The last step: install the service that this machine supports, or start the agent in the background."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ioconnect.checks.running_agent import tunnel_status
from ioconnect.commands.run.down import stop_agent
from ioconnect.commands.run.reload import reload_agent
from ioconnect.commands.run.up import start_agent
from ioconnect.errors import Fault, SystemRefused
from ioconnect.installers import machine
from ioconnect.installers.install import install, installed, would_run_as_root
from ioconnect.installers.service import Kind
from ioconnect.installers.service_manager import manager_of
from ioconnect.status import control
from ioconnect.status.snapshots import State

if TYPE_CHECKING:
    from ioconnect.commands.setup.answers import Answers
    from ioconnect.console.invocation import Invocation

CONNECT_TIMEOUT = 30.0  # seconds

_DESCRIPTIONS = {
    Kind.SYSTEMD: "a systemd service of this machine",
    Kind.SYSTEMD_USER: "a systemd service of your own",
    Kind.CRON: "a block in your crontab",
    Kind.LAUNCHD_DAEMON: "a launchd daemon of this machine",
    Kind.LAUNCHD_AGENT: "a launchd agent of your own",
}


def is_installed() -> bool:
    """Whether the service that this machine supports is installed; False if that cannot be found out."""
    try:
        return installed(machine.default_kind())
    except SystemRefused:
        return False


def install_or_start(invocation: Invocation, name: str, answers: Answers) -> None:
    """Have the agent run with this tunnel: as a service if the answer says so, else in the background.

    Raises what installing and starting raise, and AgentSilent beside an agent that does not answer.
    """
    kind = machine.default_kind()
    if is_installed():
        invocation.terminal.done(f"the service is there: {_DESCRIPTIONS[kind]}")
        if (
            answers.start
            and control.running_pid(invocation.paths) is None
            and tunnel_status(name, invocation.paths, os.environ)[0] is None
        ):
            _install(invocation, kind, answers)
    elif _wants_service(invocation, kind, answers):
        _stop_unmanaged_agent(invocation)
        _install(invocation, kind, answers)
    elif answers.start:
        _start(invocation)
    if answers.start:
        _wait_for_tunnel(invocation, name)


def _wants_service(invocation: Invocation, kind: Kind, answers: Answers) -> bool:
    if answers.service is not None:
        return answers.service
    able = not would_run_as_root(kind) and (kind is not Kind.CRON or machine.is_cron_running())
    if would_run_as_root(kind):
        invocation.terminal.say(
            "  It needs an account of its own: n, then ioconnect install-service --run-as ACCOUNT."
        )
    elif not able:
        invocation.terminal.say("  No service manager and no cron daemon runs on this machine.")
    return invocation.terminal.confirm(
        f"Keep it running from every start on, as {_DESCRIPTIONS[kind]}?", default=able
    )


def _stop_unmanaged_agent(invocation: Invocation) -> None:
    """Stop an agent that was started by hand: the service's would be a second one."""
    pid = control.running_pid(invocation.paths)
    if pid is not None and manager_of(pid) is None:
        stop_agent(invocation)


def _install(invocation: Invocation, kind: Kind, answers: Answers) -> None:
    with invocation.terminal.busy("installing the service"):
        outcome = install(kind, start=answers.start, config=invocation.config_file)
    for message in outcome.messages:
        invocation.terminal.done(message)


def _start(invocation: Invocation) -> None:
    if control.running_pid(invocation.paths) is not None:
        return
    start_agent(invocation, (), CONNECT_TIMEOUT)
    invocation.terminal.say("  It runs until this machine ends; ioconnect install-service makes it start again.")


def _wait_for_tunnel(invocation: Invocation, name: str) -> None:
    """Have the agent reload if it lacks this tunnel, wait for an attempt, and say what came of it."""
    with invocation.terminal.busy("waiting for the tunnel"):
        seen, _ = tunnel_status(name, invocation.paths, os.environ)
        if seen is None and control.running_pid(invocation.paths) is not None:
            reload_agent(invocation)
            seen, _ = tunnel_status(name, invocation.paths, os.environ)
    if seen is not None and seen.state is State.CONNECTED:
        invocation.terminal.done(f"the tunnel {name} is connected")
    elif seen is not None and seen.reason is not None:
        invocation.terminal.warn(Fault(seen.reason.message, hint=seen.reason.hint))
    else:
        invocation.terminal.say("  ioconnect status shows how it goes on.")
