"""`ioconnect reload`: make the agent read its configuration again."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

import click

from ioconnect.agent.process import launch, preflight
from ioconnect.console.command_group import command
from ioconnect.console.selection import chosen
from ioconnect.errors import AgentNotRunning, IdentityMissing, IdentityUnreadable
from ioconnect.status import lock

if TYPE_CHECKING:
    from ioconnect.console.invocation import Invocation


@command("reload", examples=["ioconnect reload"])
@click.pass_obj
def reload(invocation: Invocation) -> None:
    """Make the agent read the configuration again.

    Tunnels that did not change keep their connections. With a fault in the configuration the agent goes on as it
    was.
    """
    reload_agent(invocation)


def reload_agent(invocation: Invocation) -> None:
    """Check the configuration as the agent will, then tell the agent.

    Raises AgentNotRunning and SystemRefused, and before the agent is told ConfigInvalid and HostKeyUnpinned.
    """
    if lock.holder(invocation.paths.lock) is None:
        raise AgentNotRunning("the agent is not running", hint=launch.NOT_RUNNING)
    config = invocation.config
    chosen(config, ())
    # systemd may hand the agent an identity that this user cannot read: the agent judges that itself.
    with contextlib.suppress(IdentityMissing, IdentityUnreadable):
        preflight.check(config, invocation.paths)
    launch.signal_agent(invocation.paths, signal.SIGHUP)
    invocation.terminal.say("The agent reads its configuration again.")
