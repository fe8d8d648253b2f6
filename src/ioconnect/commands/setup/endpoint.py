"""The steps that make a tunnel: hand over the key, take what the UI gives back, find the database, save."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ioconnect.commands.configure import register
from ioconnect.commands.setup import draft, local_databases
from ioconnect.config import configuration, pasted
from ioconnect.console import clipboard
from ioconnect.console.terminal import Terminal, is_colourful
from ioconnect.errors import Fault, UsageFault
from ioconnect.escape import escaped
from ioconnect.keys import identity

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ioconnect.commands.setup.answers import Answers
    from ioconnect.commands.setup.listening_sockets import Database
    from ioconnect.config.addresses import HostPort
    from ioconnect.config.configuration import Tunnel
    from ioconnect.config.pasted import Pasted
    from ioconnect.config.paths import Paths

WHAT_TO_PASTE = "Paste the Tunnel Endpoint that the UI shows now, or any ssh line from there"


@dataclass(frozen=True, slots=True)
class Site:
    """What these steps have at hand; `name` is the tunnel's."""

    name: str
    paths: Paths
    terminal: Terminal
    environ: Mapping[str, str]


def hand_over_key(site: Site, own: Path) -> None:
    """Show the public key, made if there is none, and put it on the clipboard."""
    line, made = identity.generate(own)
    site.terminal.done(f"{'made the identity' if made else 'the identity is there:'} {own}")
    site.terminal.say(f'\nYour public key, for the field "Your SSH Public Key" in the Integrate.io UI:\n\n{line}\n')
    if site.terminal.is_interactive and is_colourful(sys.stderr, os.environ):
        how = clipboard.copy(line, sys.stderr, site.environ)
        if how is not None:
            site.terminal.done(how)


def make(site: Site, answers: Answers) -> Tunnel:
    """Save the tunnel that the answers describe, asking for what they leave open, and return it.

    An endpoint that was typed is kept at once, for whoever is interrupted before the database is known.
    """
    text, read = _pasted(site, answers)
    target = answers.to or (str(read.target) if read is not None and read.target is not None else None)
    site.terminal.heading("Database")
    if target is None:
        target = str(_database(site.terminal))
    request = register.Request(
        name=site.name,
        paste=text,
        endpoint=answers.endpoint,
        target=target,
        ssh_port=answers.ssh_port,
        ssh_user=answers.ssh_user,
        proxy=answers.proxy,
    )
    register.register(request, site.paths, Terminal(quiet=True), site.environ)
    draft.forget(site.paths)
    tunnel = next(each for each in configuration.load(site.paths.config).tunnels if each.name == site.name)
    site.terminal.done(f"saved the tunnel {tunnel.name}: {tunnel.endpoint} leads to {tunnel.target}")
    _tell_of_paste(site.terminal, tunnel, read)
    return tunnel


def refuse_change(tunnel: Tunnel, answers: Answers, environ: Mapping[str, str]) -> None:
    """Raise UsageFault if the answers describe another tunnel than the one of that name that is saved."""
    read = None if answers.paste is None else pasted.parse(answers.paste, environ=environ)
    endpoint = (
        None if answers.endpoint is None else configuration.parse_host_port(answers.endpoint, path="--endpoint")
    )
    target = None if answers.to is None else configuration.parse_host_port(answers.to, path="--to")
    said = {
        "endpoint": (endpoint or (read and read.endpoint), tunnel.endpoint),
        "target": (target or (read and read.target), tunnel.target),
        "SSH port": (answers.ssh_port or (read and read.ssh_port), tunnel.ssh_port),
        "SSH user": (answers.ssh_user or (read and read.ssh_user), tunnel.ssh_user),
        "proxy": (answers.proxy, tunnel.proxy),
    }
    other = [what for what, (given, saved) in said.items() if given is not None and given != saved]
    if other:
        raise UsageFault(
            f"the tunnel {tunnel.name} is set up already, with another {' and '.join(other)}",
            hint=f"ioconnect register {tunnel.name} --force … changes it; another NAME makes a second tunnel.",
        )


def _pasted(site: Site, answers: Answers) -> tuple[str | None, Pasted | None]:
    """Return what was pasted, now or before an interruption, and what it says; None if the options say it all."""
    site.terminal.heading("Tunnel Endpoint")
    text, read = answers.paste, None
    if text is None and answers.endpoint is None:
        text, read = site.terminal.ask_pasted(
            WHAT_TO_PASTE, lambda typed: (typed, pasted.parse(typed, environ=site.environ))
        )
    elif text is not None:
        read = pasted.parse(text, environ=site.environ)
    given = None if answers.endpoint is None else configuration.parse_host_port(answers.endpoint, path="--endpoint")
    again = "  (from last time; --endpoint gives another)" if answers.resumed else ""
    site.terminal.done(f"{given or (read and read.endpoint)}{again}")
    if answers.to is None and (read is None or read.target is None):
        draft.keep(site.paths, site.name, answers.draft(text))
    return text, read


def _database(terminal: Terminal) -> HostPort:
    """Ask for the database, and offer those that listen here."""
    with terminal.busy("looking for databases on this machine"):
        found = local_databases.on_this_machine()
    if not found:
        terminal.say("  No database listens on this machine where they usually do.")
        question = f"Database as seen from this machine, like {register.TARGET_EXAMPLE}"
    else:
        terminal.say("  Listening on this machine:")
        for number, each in enumerate(found, 1):
            terminal.say(f"    {number}  {each.kind} on {each.target}")
        question = f"Which is it? ({_numbers(len(found))}, or another HOST:PORT)"
    return terminal.ask(question, lambda typed: _chosen(typed, found))


def _numbers(count: int) -> str:
    return "Enter for 1" if count == 1 else f"1 to {count}, Enter for 1"


def _chosen(typed: str, found: list[Database]) -> HostPort:
    """Read an answer: a number, nothing, or an address. Raises UsageFault."""
    if found and not typed:
        return found[0].target
    if typed.isascii() and typed.isdecimal() and 1 <= int(typed[:9]) <= len(found):
        return found[int(typed[:9]) - 1].target
    return configuration.parse_host_port(typed, path="database")


def _tell_of_paste(terminal: Terminal, tunnel: Tunnel, read: Pasted | None) -> None:
    """Say what of a pasted line was taken, and what was not."""
    if tunnel.identity is not None:
        terminal.say(f"  Using the key that the pasted line names: {tunnel.identity}")
        try:
            identity.load(tunnel.identity)
        except Fault as fault:
            terminal.warn(fault)
    elif read is not None and read.identity is not None:
        terminal.say(f"  The key that the pasted line names is not used; ours is: {escaped(read.identity)}")
    if read is not None and read.ignored:
        terminal.say(f"  Not taken over from the pasted line: {escaped(', '.join(read.ignored))}")
