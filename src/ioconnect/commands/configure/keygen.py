"""`ioconnect keygen`: make the identity, or show the one that is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ioconnect.config import configuration
from ioconnect.config.paths import absolute
from ioconnect.console.command_group import FILE, command, json_option
from ioconnect.errors import UsageFault
from ioconnect.escape import escaped_path
from ioconnect.keys import identity, passphrases

if TYPE_CHECKING:
    from pathlib import Path

    from ioconnect.console.invocation import Invocation
    from ioconnect.console.terminal import Terminal


@command(
    "keygen", examples=["ioconnect keygen", "ioconnect keygen --file ~/.ssh/integrateio_reverse --comment orders-db"]
)
@click.option("--file", type=FILE, metavar="FILE", help="Where the private key goes; the public one beside it.")
@click.option("--comment", metavar="TEXT", default=identity.COMMENT, help="What the public key ends with.")
@click.option(
    "--passphrase", "ask_passphrase", is_flag=True, help="Ask for a passphrase and keep it in the OS keyring."
)
@click.option("--force", is_flag=True, help="Replace a key that exists; the old one is lost.")
@json_option
@click.pass_obj
def keygen(invocation: Invocation, file: Path | None, comment: str, *, ask_passphrase: bool, force: bool) -> None:
    """Make the SSH identity and print its public key.

    A key that exists is kept and printed again.
    """
    path = _configured(invocation) if file is None else absolute(file)
    passphrase = None
    if ask_passphrase and (force or not path.exists()):
        passphrase = _new_passphrase(invocation.terminal)
        # First, because the agent could not open a key whose passphrase the keyring did not take.
        passphrases.store_passphrase(path, passphrase)
    line, made = identity.generate(path, comment=comment, passphrase=passphrase, force=force)
    shown = escaped_path(path)
    invocation.terminal.say(f"Made the identity {shown}" if made else f"The identity {shown} is there already; kept.")
    invocation.answer(line, public_key=line, fingerprint=identity.fingerprint(line), file=str(path), made=made)


def _configured(invocation: Invocation) -> Path:
    """Return where the agent looks for its identity."""
    paths = invocation.paths
    return configuration.load(paths.config, or_empty=True).agent.identity or paths.identity


def _new_passphrase(terminal: Terminal) -> str:
    """Ask for a passphrase twice. Raises UsageFault."""
    if not terminal.is_interactive:
        raise UsageFault("--passphrase asks for it: this is not a terminal", hint="Leave it out, or use a terminal.")
    passphrase = terminal.secret("Passphrase for the new key")
    if not passphrase:  # before it is asked for again
        raise UsageFault("the passphrase is empty", hint="Leave out --passphrase for a key without one.")
    if terminal.secret("The same again") != passphrase:
        raise UsageFault("the two passphrases differ", hint="Nothing was made; try again.")
    return passphrase
