"""The order of the steps: each is skipped when it is done, and whoever is interrupted goes on from there."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from ioconnect.commands.configure import pin, register
from ioconnect.commands.inspect.test import test
from ioconnect.commands.setup import draft, endpoint, service
from ioconnect.commands.setup.answers import Open
from ioconnect.config import configuration, pasted
from ioconnect.console import selection
from ioconnect.errors import ExitCode, UsageFault
from ioconnect.keys import known_hosts

if TYPE_CHECKING:
    from ioconnect.commands.setup.answers import Answers
    from ioconnect.config.configuration import Config, Tunnel
    from ioconnect.console.invocation import Call


def walk(call: Call, answers: Answers) -> ExitCode:
    """Lead to a tunnel that runs; returns the first failed check's code if nobody can be asked to mend it.

    Raises UsageFault before anything is done if an answer is missing and nobody can be asked for it, and what the
    steps raise. What was done before any exception stays.
    """
    if answers.paste == "-":
        answers = replace(answers, paste=register.read_paste(sys.stdin))
    _check(answers)
    known = configuration.load(call.paths.config, or_empty=True)
    name = _name(known, answers)
    tunnel = next((each for each in known.tunnels if each.name == name), None)
    if tunnel is not None and answers.describe_a_tunnel:
        endpoint.refuse_change(tunnel, answers, os.environ)
    if tunnel is None:
        answers = answers.resuming(draft.kept(call.paths, name))
    if not call.terminal.is_interactive:
        _open_questions(call, answers, tunnel).refuse()
    try:
        return _steps(call, answers, known, name, tunnel)
    except (KeyboardInterrupt, EOFError):
        call.terminal.say(f"\nWhat is done is kept. This goes on from here: ioconnect setup {name}")
        raise


def _steps(call: Call, answers: Answers, known: Config, name: str, tunnel: Tunnel | None) -> ExitCode:
    own = known.agent.identity or call.paths.identity
    terminal = call.terminal
    terminal.heading("Key")
    if tunnel is None:
        site = endpoint.Site(name, call.paths, terminal, os.environ)
        endpoint.hand_over_key(site, own)
        tunnel = endpoint.make(site, answers)
    else:
        terminal.done(f"the identity is there: {tunnel.identity or own}")
        terminal.heading("Tunnel")
        terminal.done(f"{name} is set up: {tunnel.endpoint} leads to {tunnel.target}")
    terminal.heading("Host key")
    _pin(call, answers, tunnel)
    terminal.heading("Test")
    code = _test(call, name)
    if code is not ExitCode.OK:
        return code
    terminal.heading("Service")
    service.settle(call, name, answers)
    terminal.say("\nioconnect status shows how it is, ioconnect test what is wrong if something is.")
    return ExitCode.OK


def _check(answers: Answers) -> None:
    """Raise UsageFault for an answer that cannot be read, before anything is done."""
    for option, given in (("--endpoint", answers.endpoint), ("--to", answers.to)):
        if given is not None:
            configuration.parse_host_port(given, path=option)
    if answers.paste is not None:
        pasted.parse(answers.paste, environ=os.environ)
    if answers.fingerprint is not None:
        pin.checked_fingerprint(answers.fingerprint)


def _name(known: Config, answers: Answers) -> str:
    if answers.name is None and len(known.tunnels) > 1:
        raise UsageFault(
            f"there are {len(known.tunnels)} tunnels: say which one to go on with, or a new name",
            hint=f"There are: {', '.join(tunnel.name for tunnel in known.tunnels[:10])}",
        )
    return configuration.check_name(answers.name or selection.default_name(known))


def _open_questions(call: Call, answers: Answers, tunnel: Tunnel | None) -> Open:
    """Return what would have to be asked."""
    read = None if answers.paste is None else pasted.parse(answers.paste, environ=os.environ)
    return Open(
        endpoint=tunnel is None and answers.endpoint is None and read is None,
        target=tunnel is None and answers.to is None and (read is None or read.target is None),
        host_key=answers.fingerprint is None and not answers.yes and not (tunnel and _pinned(call, tunnel)),
        service=answers.service is None and not service.is_installed(),
    )


def _pinned(call: Call, tunnel: Tunnel) -> tuple[str, ...]:
    """Return the fingerprints of the jumphost's pins."""
    jumphost = tunnel.jumphost
    blobs = known_hosts.load(call.paths.known_hosts).blobs_for(jumphost.host, jumphost.port)
    return tuple(known_hosts.fingerprint(blob) for blob in blobs)


def _pin(call: Call, answers: Answers, tunnel: Tunnel) -> None:
    pinned = _pinned(call, tunnel)
    wanted = None if answers.fingerprint is None else pin.checked_fingerprint(answers.fingerprint)
    if pinned and (wanted is None or wanted in pinned):
        call.terminal.done(f"{tunnel.jumphost} is pinned to {', '.join(pinned)}")
        return
    consent = pin.Consent(answers.fingerprint, yes=answers.yes)
    pin.pin(tunnel, call.paths, call.terminal, consent)


def _test(call: Call, name: str) -> ExitCode:
    """Run the checks, on a terminal until they pass or nobody wants to mend any more."""
    while True:
        with contextlib.redirect_stdout(sys.stderr):  # setup answers nothing, it talks to a person
            code = test(call, name, as_json=False)
        if code is ExitCode.OK or not call.terminal.is_interactive:
            return code
        if not call.terminal.confirm("Mend it, then: try again?", default=True):
            return code
