"""The steps that make a tunnel: hand over the key, take what the UI gives back, find the database, save."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from ioconnect.commands.setup import draft, local_databases
from ioconnect.config import addresses, configuration, pasted
from ioconnect.console import clipboard
from ioconnect.console.terminal import is_colourful
from ioconnect.errors import Fault, UsageFault
from ioconnect.escape import escaped, escaped_path
from ioconnect.keys import identity
from ioconnect.registration import request
from ioconnect.registration.request import TARGET_EXAMPLE, Request

if TYPE_CHECKING:
    from pathlib import Path

    from ioconnect.commands.setup.answers import Answers
    from ioconnect.commands.setup.listening_sockets import Database
    from ioconnect.config.addresses import Target
    from ioconnect.config.configuration import Tunnel
    from ioconnect.config.pasted import Pasted
    from ioconnect.console.invocation import Invocation
    from ioconnect.console.terminal import Terminal

PASTE_QUESTION = "Paste the Tunnel Endpoint that the UI shows now, or any ssh line from there"


def hand_over_key(terminal: Terminal, own_key: Path) -> None:
    """Show the public key, and put it on the clipboard; make the identity if there is none."""
    line, made = identity.generate(own_key)
    terminal.done(f"{'made the identity' if made else 'the identity is there:'} {own_key}")
    terminal.say(f'\nYour public key, for the field "Your SSH Public Key" in the Integrate.io UI:\n\n{line}\n')
    if terminal.is_interactive and is_colourful(sys.stderr, os.environ):
        how = clipboard.copy(line, sys.stderr, os.environ)
        if how is not None:
            terminal.done(how)


def make_tunnel(invocation: Invocation, name: str, own_key: Path, answers: Answers) -> Tunnel:
    """Save the tunnel that the answers describe, asking for what they leave open, and return it.

    Until the database is known, the endpoint is kept in the draft. Raises UsageFault, ConfigInvalid, CannotCreate.
    """
    paths, terminal = invocation.paths, invocation.terminal
    text, line = _pasted(invocation, name, answers)
    target = answers.target or (str(line.target) if line is not None and line.target is not None else None)
    terminal.heading("Database")
    if target is None:
        target = str(_database(terminal))
    described = Request(answers.endpoint, target, text, answers.ssh_port, answers.ssh_user, answers.proxy)
    tunnel = request.check(described, os.environ).tunnel(name, own_key)
    configuration.change(paths.config, lambda known: request.with_tunnel(known, tunnel, force=False))
    draft.remove(paths)
    terminal.done(f"saved the tunnel {name}: {tunnel.endpoint} leads to {tunnel.target}")
    _tell_of_paste(terminal, tunnel, line)
    return tunnel


def refuse_change(tunnel: Tunnel, answers: Answers) -> None:
    """Raise UsageFault if the answers differ from the saved tunnel of that name."""
    line = None if answers.paste is None else pasted.parse(answers.paste, environ=os.environ)
    endpoint = None if answers.endpoint is None else addresses.parse_host_port(answers.endpoint, path="--endpoint")
    target = None if answers.target is None else addresses.parse_target(answers.target, path="--to")
    said = {
        "endpoint": (endpoint or (line and line.endpoint), tunnel.endpoint),
        "target": (target or (line and line.target), tunnel.target),
        "SSH port": (answers.ssh_port or (line and line.ssh_port), tunnel.ssh_port),
        "SSH user": (answers.ssh_user or (line and line.ssh_user), tunnel.ssh_user),
        "proxy": (answers.proxy, tunnel.proxy),
    }
    other = [what for what, (given, saved) in said.items() if given is not None and given != saved]
    if other:
        raise UsageFault(
            f"the tunnel {tunnel.name} is set up already, with another {' and '.join(other)}",
            hint=f"ioconnect register {tunnel.name} --force … changes it; another NAME makes a second tunnel.",
        )


def _pasted(invocation: Invocation, name: str, answers: Answers) -> tuple[str | None, Pasted | None]:
    """Return the pasted text and what it says, None if an option gives the endpoint; asks if nothing was pasted."""
    terminal = invocation.terminal
    terminal.heading("Tunnel Endpoint")
    text, line = answers.paste, None
    if text is None and answers.endpoint is None:
        text, line = terminal.ask_pasted(
            PASTE_QUESTION, lambda typed: (typed, pasted.parse(typed, environ=os.environ))
        )
    elif text is not None:
        line = pasted.parse(text, environ=os.environ)
    given = None if answers.endpoint is None else addresses.parse_host_port(answers.endpoint, path="--endpoint")
    again = "  (from last time; --endpoint gives another)" if answers.resumed else ""
    terminal.done(f"{given or (line and line.endpoint)}{again}")
    if answers.target is None and (line is None or line.target is None):
        draft.save(invocation.paths, name, answers.draft(text))
    return text, line


def _database(terminal: Terminal) -> Target:
    """Ask for the database; offers those that listen on this machine."""
    with terminal.busy("looking for databases on this machine"):
        found = local_databases.on_this_machine()
    if not found:
        terminal.say("  No database listens on this machine where they usually do.")
        question = f"Database as seen from this machine, like {TARGET_EXAMPLE}"
    else:
        terminal.say("  Listening on this machine:")
        for number, each in enumerate(found, 1):
            terminal.say(f"    {number}  {each.kind} on {each.target}")
        question = f"Which is it? ({_numbers(len(found))}, or another HOST:PORT)"
    return terminal.ask(question, lambda typed: _chosen(typed, found))


def _numbers(count: int) -> str:
    return "Enter for 1" if count == 1 else f"1 to {count}, Enter for 1"


def _chosen(typed: str, found: list[Database]) -> Target:
    """Parse an answer: a number, nothing, or an address. Raises UsageFault."""
    if found and not typed:
        return found[0].target
    if typed.isascii() and typed.isdecimal() and 1 <= int(typed[:9]) <= len(found):
        return found[int(typed[:9]) - 1].target
    return addresses.parse_target(typed, path="database")


def _tell_of_paste(terminal: Terminal, tunnel: Tunnel, line: Pasted | None) -> None:
    """Say which key is used, and which options of a pasted line are not."""
    if tunnel.identity is not None:
        terminal.say(f"  Using the key that the pasted line names: {escaped_path(tunnel.identity)}")
        try:
            identity.load(tunnel.identity)
        except Fault as fault:
            terminal.warn(fault)
    elif line is not None and line.identity is not None:
        terminal.say(f"  The key that the pasted line names is not used; ours is: {escaped(line.identity)}")
    if line is not None and line.ignored:
        terminal.say(f"  Not taken over from the pasted line: {escaped(', '.join(line.ignored))}")
