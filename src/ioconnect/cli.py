"""The list of commands, in the order of a tunnel's life; each is imported when it is run."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from ioconnect.console import exits
from ioconnect.console.command_group import CommandGroup, LazyCommand, LazyCommands
from ioconnect.console.invocation import Invocation

# A command, its file in commands/, and the first sentence of its help.
COMMANDS = [
    ("setup", "setup.setup", "Set up a tunnel, step by step, up to a service that keeps it running."),
    ("keygen", "configure.keygen", "Make the SSH identity and print its public key."),
    ("register", "configure.register", "Hand over the public key and save the tunnel that it is for."),
    ("pin", "configure.pin", "Fetch the jumphost's host key and pin it."),
    ("import", "configure.import_", "Make tunnels of autossh and ssh lines that exist."),
    (
        "test",
        "inspect.test",
        "Try the whole path once, from the database to the port on the jumphost, and say what fails and why.",
    ),
    ("up", "run.up", "Keep all tunnels, or the named ones, up."),
    ("down", "run.down", "Stop the agent, or the named tunnels, cleanly: the jumphost frees the ports at once."),
    ("status", "inspect.status", "Show what every tunnel does now, and why."),
    ("reload", "run.reload", "Make the agent read the configuration again."),
    ("reconnect", "run.reconnect", "Drop every wait and try now: of all tunnels, or of the named one."),
    ("logs", "inspect.logs", "Show the daemon's log."),
    (
        "install-service",
        "machine.install_service",
        "Have this machine keep the agent running: from boot on, whoever is signed in.",
    ),
    ("uninstall-service", "machine.uninstall_service", "Stop the service and remove what install-service wrote."),
    ("doctor", "inspect.doctor", "Look at this machine and try every tunnel."),
    ("stub", "rehearse.stub", "Stand in for Integrate.io's side, in rehearsals."),
    ("demo", "rehearse.demo", "Show a tunnel's whole life on this machine."),
    ("completion", "machine.completion", "Print the completion script for a shell."),
]


@click.group(
    cls=CommandGroup,
    commands=LazyCommands(
        {name: LazyCommand(name, f"ioconnect.commands.{file}", summary) for name, file, summary in COMMANDS}
    ),
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)
@click.pass_context
def cli(context: click.Context) -> None:
    """Keep a reverse SSH tunnel from your database to Integrate.io up, and tell the truth about it.

    First step: setup, which leads through the others.
    """
    if context.invoked_subcommand is None:
        context.fail("say what to do")


def main() -> NoReturn:
    """Run the command line, or answer a completion script, and exit with one of `ExitCode`."""
    # paramiko.config imports it for `Match exec` of ssh_config, which nobody here reads: 5 MB and 0.1 s.
    sys.modules.setdefault("invoke", None)  # type: ignore[arg-type]  # None: not found (the import system, 5.3.1)
    invocation = Invocation()
    instruction = os.environ.get("_IOCONNECT_COMPLETE")
    if instruction:
        from ioconnect.console.completion import respond  # noqa: PLC0415  only a completion script asks

        sys.exit(respond(cli, instruction, invocation))
    exits.leave(exits.run(cli, sys.argv[1:], invocation))
