"""The last step: the service that fits this machine, else the agent in the background."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ioconnect.checks.running_agent import tunnel_status
from ioconnect.commands.run import running
from ioconnect.errors import Fault, SystemRefused
from ioconnect.installers import machine
from ioconnect.installers.install import install, installed
from ioconnect.installers.service import Kind
from ioconnect.installers.service_manager import supervisor_of
from ioconnect.status import lock
from ioconnect.status.snapshots import State

if TYPE_CHECKING:
    from ioconnect.commands.setup.answers import Answers
    from ioconnect.console.invocation import Call

CONNECT_WITHIN = 30.0  # seconds

_OFFERS = {
    Kind.SYSTEMD: "a systemd service of this machine",
    Kind.SYSTEMD_USER: "a systemd service of your own",
    Kind.CRON: "a block in your crontab",
    Kind.LAUNCHD_DAEMON: "a launchd daemon of this machine",
    Kind.LAUNCHD_AGENT: "a launchd agent of your own",
}


def is_installed() -> bool:
    """Whether the service that fits this machine is there; a machine that cannot tell has none."""
    try:
        return installed(machine.default_kind())
    except SystemRefused:
        return False


def settle(call: Call, name: str, answers: Answers) -> None:
    """Have the agent run with this tunnel: as a service if that is wanted, else in the background.

    Raises what installing and starting raise.
    """
    kind = machine.default_kind()
    if is_installed():
        call.terminal.done(f"the service is there: {_OFFERS[kind]}")
        if (
            answers.start
            and lock.holder(call.paths.lock) is None
            and tunnel_status(name, call.paths, os.environ) is None
        ):
            _install(call, kind, answers)
    elif _wants_service(call, kind, answers):
        _make_way(call)
        _install(call, kind, answers)
    elif answers.start:
        _start(call)
    if answers.start:
        _take_up(call, name)


def _wants_service(call: Call, kind: Kind, answers: Answers) -> bool:
    if answers.service is not None:
        return answers.service
    able = kind is not Kind.CRON or machine.cron_runs()
    if not able:
        call.terminal.say("  No service manager and no cron daemon runs on this machine.")
    return call.terminal.confirm(f"Keep it running from every start on, as {_OFFERS[kind]}?", default=able)


def _make_way(call: Call) -> None:
    """End an agent that was started by hand: the service's would be the second."""
    pid = lock.holder(call.paths.lock)
    if pid is not None and supervisor_of(pid) is None:
        running.stop(call)


def _install(call: Call, kind: Kind, answers: Answers) -> None:
    with call.terminal.busy("installing the service"):
        outcome = install(kind, start=answers.start, config=call.config_file)
    for message in outcome.messages:
        call.terminal.done(message)


def _start(call: Call) -> None:
    if lock.holder(call.paths.lock) is not None:
        return
    running.start(call, (), CONNECT_WITHIN)
    call.terminal.say("  It runs until this machine ends; ioconnect install-service makes it start again.")


def _take_up(call: Call, name: str) -> None:
    """Make sure that the agent has this tunnel, and tell what it does with it."""
    with call.terminal.busy("waiting for the tunnel"):
        seen = tunnel_status(name, call.paths, os.environ)
        if seen is None and lock.holder(call.paths.lock) is not None:
            running.reload(call)
            seen = tunnel_status(name, call.paths, os.environ)
    if seen is not None and seen[0].state is State.CONNECTED:
        call.terminal.done(f"the tunnel {name} is connected")
    elif seen is not None and seen[0].reason is not None:
        call.terminal.warn(Fault(seen[0].reason.message, hint=seen[0].reason.hint))
    else:
        call.terminal.say("  ioconnect status shows how it goes on.")
