"""The last step: install the service that this machine supports, or start the agent in the background."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from ioconnect.checks import running_agent
from ioconnect.checks.running_agent import tunnel_status
from ioconnect.commands.run.agent import seen
from ioconnect.commands.run.down import stop_agent
from ioconnect.commands.run.reload import reload_agent
from ioconnect.commands.run.up import start_agent
from ioconnect.errors import Fault, SystemRefused
from ioconnect.installers import installed, machine
from ioconnect.installers.install import check, has_service, install, refuse_wrong_user, would_run_as_root
from ioconnect.installers.service import Kind
from ioconnect.installers.service_manager import manager_of
from ioconnect.status import control
from ioconnect.status.observe import agent_pid
from ioconnect.status.snapshots import State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ioconnect.commands.setup.answers import Answers
    from ioconnect.console.invocation import Invocation
    from ioconnect.status.snapshots import Snapshot

CONNECT_TIMEOUT = 30.0  # seconds

_DESCRIPTIONS = {
    Kind.SYSTEMD: "a systemd service of this machine",
    Kind.SYSTEMD_USER: "a systemd service of your own",
    Kind.CRON: "a block in your crontab",
    Kind.LAUNCHD_DAEMON: "a launchd daemon of this machine",
    Kind.LAUNCHD_AGENT: "a launchd agent of your own",
}


def is_installed(run_as: str | None = None) -> bool:
    """Whether the service that this machine supports is installed; False if that cannot be found out.

    A block of cron's that runs as root counts only if root is the account that was named.
    """
    kind = machine.default_kind()
    if run_as is None and kind is Kind.CRON and would_run_as_root(kind):
        return False
    try:
        return has_service(kind, run_as)
    except SystemRefused:
        return False


def needs_account(answers: Answers) -> bool:
    """Whether an account must be named for the service, as it would run as root otherwise."""
    return answers.run_as is None and would_run_as_root(machine.default_kind())


def with_installed_account(invocation: Invocation, answers: Answers) -> Answers:
    """Return the answers with the account for which root has installed this service before, if none was named."""
    kind = machine.default_kind()
    if answers.run_as is not None or not would_run_as_root(kind):
        return answers
    other = installed.of_another_account(invocation.paths, os.environ)
    return answers if other is None or other.kind is not kind else replace(answers, run_as=other.account)


def check_account(name: str) -> str:
    """Return the name of an account that may run the service. Raises UsageFault, SystemRefused."""
    machine.check_account_name(name)
    machine.account(name)
    refuse_wrong_user(machine.default_kind(), name)
    return name


def account_of(answers: Answers) -> int | None:
    """Return the uid of the account that was named for the service. Raises UsageFault."""
    return None if answers.run_as is None else machine.account(answers.run_as).uid


def install_or_start(invocation: Invocation, name: str, answers: Answers) -> None:
    """Have the agent run with this tunnel: as a service if the answer says so, else in the background.

    Raises what installing and starting raise, and AgentSilent beside an agent that does not answer.
    """
    kind = machine.default_kind()
    if is_installed(answers.run_as):
        invocation.terminal.done(f"the service is there: {_DESCRIPTIONS[kind]}")
        if (
            answers.start
            and control.running_pid(invocation.paths) is None
            and tunnel_status(name, invocation.paths, os.environ)[0] is None
        ):
            _install(invocation, kind, answers)
    elif (
        needs_account(answers) and (answers := with_account(invocation, answers)).run_as is not None
    ) or _wants_service(invocation, kind, answers):
        _install(invocation, kind, answers)
    elif answers.start:
        _start(invocation)
    if answers.start and not (answers.run_as and would_run_as_root(kind)):  # its agent says so to that account
        _wait_for_tunnel(invocation, name)


def _wants_service(invocation: Invocation, kind: Kind, answers: Answers) -> bool:
    if answers.service is not None:
        return answers.service
    able = kind is not Kind.CRON or machine.is_cron_running()
    if not able:
        invocation.terminal.say("  No service manager and no cron daemon runs on this machine.")
    is_accounts = kind is Kind.CRON and would_run_as_root(kind)
    what = "a block in the crontab of an account" if is_accounts else _DESCRIPTIONS[kind]
    return invocation.terminal.confirm(f"Keep it running from every start on, as {what}?", default=able)


def with_account(invocation: Invocation, answers: Answers) -> Answers:
    """Return the answers with whether a service is wanted, and if so with the account that runs it."""
    if not _wants_service(invocation, machine.default_kind(), answers):
        return replace(answers, service=False)
    invocation.terminal.say("  It needs no right of root's: an account runs it, which reads the key.")
    account = invocation.terminal.ask("Name an account of this machine for it", check_account)
    return replace(answers, service=True, run_as=account)


@contextlib.contextmanager
def _unmanaged_agent_stopped(invocation: Invocation) -> Iterator[None]:
    """Stop an agent that was started by hand: the service's would be a second one. Start it again after a failure."""
    pid = agent_pid(invocation.paths)
    if control.running_pid(invocation.paths) is None or (pid and manager_of(pid) is not None):
        yield
        return
    snapshot = seen(invocation.paths)
    owner = running_agent.account(snapshot, invocation.paths)
    stop_agent(invocation)
    try:
        yield
    except BaseException:
        if owner == os.geteuid():  # then the names of its tunnels are this account's too
            _start_again(invocation, _running_names(snapshot))
        elif owner is None:
            invocation.terminal.say("  Whose agent it was that was stopped is not known: it is not started again.")
        else:
            invocation.terminal.say(f"  The agent that was stopped is not root's: uid {owner} may start it again.")
        raise


def _running_names(snapshot: Snapshot) -> tuple[str, ...]:
    """Return the tunnels that the agent runs; none if it runs all that are enabled, as `up` without a name does."""
    tunnels = snapshot.tunnels
    running = tuple(tunnel.name for tunnel in tunnels if tunnel.state is not State.STOPPED)
    stopped = any(tunnel.enabled and tunnel.name not in running for tunnel in tunnels)
    return running if stopped else ()


def _start_again(invocation: Invocation, names: tuple[str, ...]) -> None:
    """Start the agent that was stopped; why that fails is said, and whatever else failed is raised."""
    if _has_agent(invocation):
        return
    invocation.terminal.say("  The service is not installed: the agent that was stopped is started again.")
    try:
        start_agent(invocation, names, CONNECT_TIMEOUT)
    except Fault as fault:
        invocation.terminal.warn(fault)


def _has_agent(invocation: Invocation) -> bool:
    """Whether an agent runs; False if that cannot be told."""
    with contextlib.suppress(Fault):
        return control.running_pid(invocation.paths) is not None
    return False


def _install(invocation: Invocation, kind: Kind, answers: Answers) -> None:
    """Install the service in the place of an agent that was started by hand, which goes on where that is refused."""
    terminal, config = invocation.terminal, invocation.config_file
    while True:
        try:
            check(kind, run_as=answers.run_as, config=config)
            with _unmanaged_agent_stopped(invocation), terminal.busy("installing the service"):
                outcome = install(kind, start=answers.start, run_as=answers.run_as, config=config)
            break
        except SystemRefused as refused:  # such as a key that the account may not read
            if answers.run_as is None or not terminal.is_interactive:
                raise
            terminal.warn(refused)
            if not terminal.confirm("Mend it, then: try again?", default=True):
                raise
    for message in outcome.messages:
        terminal.done(message)


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
