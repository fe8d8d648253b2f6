"""`keygen`: make the identity, or show the one that is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ioconnect.console.terminal import answer
from ioconnect.errors import UsageFault
from ioconnect.keys import identity, passphrases

if TYPE_CHECKING:
    from pathlib import Path

    from ioconnect.console.invocation import Call
    from ioconnect.console.terminal import Terminal


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asks for; None is the default."""

    file: Path | None = None
    comment: str | None = None
    passphrase: bool = False
    force: bool = False


def make(call: Call, wish: Wish) -> None:
    """Make the identity unless there is one, and answer with its public key.

    The passphrase goes to the keyring before the key is made: an encrypted key that the agent cannot open is worth
    nothing. Raises UsageFault, CannotCreate, IdentityUnreadable, SystemRefused.
    """
    path = _place(call) if wish.file is None else wish.file.expanduser().absolute()
    comment = identity.COMMENT if wish.comment is None else wish.comment
    is_new = wish.force or not path.exists()
    passphrase = _new_passphrase(call.terminal) if wish.passphrase and is_new else None
    if passphrase is not None:
        passphrases.store_passphrase(path, passphrase)
    line, made = identity.generate(path, comment=comment, passphrase=passphrase, force=wish.force)
    call.terminal.say(f"Made the identity {path}" if made else f"The identity {path} is there already; kept.")
    answer(line)


def _place(call: Call) -> Path:
    """Return where the agent will look for it."""
    from ioconnect.config.configuration import load  # noqa: PLC0415

    paths = call.paths
    return load(paths.config, or_empty=True).agent.identity or paths.identity


def _new_passphrase(terminal: Terminal) -> str:
    if not terminal.is_interactive:
        raise UsageFault("--passphrase asks for it: this is not a terminal", hint="Leave it out, or use a terminal.")
    passphrase = terminal.secret("Passphrase for the new key")
    if not passphrase:  # before it is asked for again
        raise UsageFault("the passphrase is empty", hint="Leave out --passphrase for a key without one.")
    if terminal.secret("The same again") != passphrase:
        raise UsageFault("the two passphrases differ", hint="Nothing was made; try again.")
    return passphrase
