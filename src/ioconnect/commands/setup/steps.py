"""The order of the steps; a step that is done already is skipped, so an interrupted run can be repeated."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from ioconnect.commands.configure import pin
from ioconnect.commands.inspect.test import check_tunnel
from ioconnect.commands.setup import draft, endpoint, service
from ioconnect.commands.setup.answers import OpenQuestions
from ioconnect.config import addresses, configuration, pasted
from ioconnect.console import selection
from ioconnect.console.terminal import read_stdin
from ioconnect.errors import ExitCode, UsageFault
from ioconnect.keys import known_hosts, public_keys

if TYPE_CHECKING:
    from ioconnect.commands.setup.answers import Answers
    from ioconnect.config.configuration import Config, Tunnel
    from ioconnect.console.invocation import Invocation


def run(invocation: Invocation, answers: Answers) -> ExitCode:
    """Do every step that is not done yet; returns the code of `test` if that is not OK to the end.

    Raises UsageFault before anything is done if an answer is missing and nobody can be asked for it, and what the
    steps raise. What was done before any exception stays.
    """
    if answers.paste == "-":
        answers = replace(answers, paste=read_stdin(pasted.MAX_BYTES))
    _check(answers)
    answers = service.with_installed_account(invocation, answers)
    known = configuration.load(invocation.paths.config, or_empty=True)
    name = _name(known, answers)
    tunnel = next((each for each in known.tunnels if each.name == name), None)
    if tunnel is not None and answers.describe_a_tunnel:
        endpoint.refuse_change(tunnel, answers)
    if tunnel is None:
        answers = answers.resuming(draft.load(invocation.paths, name))
    if not invocation.terminal.is_interactive:
        _open_questions(invocation, answers, tunnel).check_none()
    try:
        return _steps(invocation, answers, known, name, tunnel)
    except (KeyboardInterrupt, EOFError):
        invocation.terminal.say(f"\nWhat is done is kept. This goes on from here: ioconnect setup {name}")
        raise


def _steps(invocation: Invocation, answers: Answers, known: Config, name: str, tunnel: Tunnel | None) -> ExitCode:
    own_key = known.agent.identity or invocation.paths.identity
    terminal = invocation.terminal
    terminal.heading("Key")
    if tunnel is None:
        endpoint.hand_over_key(terminal, own_key)
        tunnel = endpoint.make_tunnel(invocation, name, own_key, answers)
    else:
        terminal.done(f"the identity is there: {tunnel.identity or own_key}")
        terminal.heading("Tunnel")
        terminal.done(f"{name} is set up: {tunnel.endpoint} leads to {tunnel.target}")
    terminal.heading("Host key")
    _pin(invocation, answers, known, tunnel)
    terminal.heading("Test")
    code, answers = _test(invocation, name, answers)
    if code is not ExitCode.OK:
        return code
    terminal.heading("Service")
    service.install_or_start(invocation, name, answers)
    terminal.say("\nioconnect status shows how it is, ioconnect test what is wrong if something is.")
    return ExitCode.OK


def _check(answers: Answers) -> None:
    """Raise UsageFault for an answer that cannot be parsed."""
    for option, given in (("--endpoint", answers.endpoint), ("--to", answers.target)):
        if given is not None:
            addresses.parse_host_port(given, path=option)
    if answers.paste is not None:
        pasted.parse(answers.paste, environ=os.environ)
    if answers.fingerprint is not None:
        pin.checked_fingerprint(answers.fingerprint)
    if answers.run_as is not None:
        service.check_account(answers.run_as)


def _name(known: Config, answers: Answers) -> str:
    if answers.name is None and len(known.tunnels) > 1:
        raise UsageFault(
            f"there are {len(known.tunnels)} tunnels: say which one to go on with, or a new name",
            hint=f"There are: {', '.join(tunnel.name for tunnel in known.tunnels[:10])}",
        )
    return configuration.check_name(answers.name or selection.default_name(known))


def _open_questions(invocation: Invocation, answers: Answers, tunnel: Tunnel | None) -> OpenQuestions:
    line = None if answers.paste is None else pasted.parse(answers.paste, environ=os.environ)
    return OpenQuestions(
        endpoint=tunnel is None and answers.endpoint is None and line is None,
        target=tunnel is None and answers.target is None and (line is None or line.target is None),
        host_key=answers.fingerprint is None and not answers.yes and not (tunnel and _pinned(invocation, tunnel)),
        service=answers.service is None and not service.is_installed(answers.run_as),
        account=answers.service is True and service.needs_account(answers),
    )


def _pinned(invocation: Invocation, tunnel: Tunnel) -> tuple[str, ...]:
    """Return the fingerprints of the jumphost's pins."""
    jumphost = tunnel.jumphost
    blobs = known_hosts.load(invocation.paths.known_hosts).blobs_for(jumphost.host, jumphost.port)
    return tuple(public_keys.fingerprint(blob) for blob in blobs)


def _pin(invocation: Invocation, answers: Answers, known: Config, tunnel: Tunnel) -> None:
    pinned = _pinned(invocation, tunnel)
    wanted = None if answers.fingerprint is None else pin.checked_fingerprint(answers.fingerprint)
    if pinned and (wanted is None or wanted in pinned):
        invocation.terminal.done(f"{tunnel.jumphost} is pinned to {', '.join(pinned)}")
        return
    consent = pin.Consent(answers.fingerprint, yes=answers.yes)
    pin.pin_host_keys(tunnel, known.agent, invocation.paths, invocation.terminal, consent)


def _test(invocation: Invocation, name: str, answers: Answers) -> tuple[ExitCode, Answers]:
    """Run the checks; on a terminal again and again until they pass or a person gives up.

    What only root's own agent would be refused for need not be mended where an account can run it: that is asked for.
    """
    while True:
        with contextlib.redirect_stdout(sys.stderr):  # setup's own standard output stays empty
            report = check_tunnel(invocation, name, as_json=False, run_as=service.account_of(answers))
        code = report.exit_code
        if code is ExitCode.OK or not invocation.terminal.is_interactive:
            return code, answers
        if report.works and answers.service is not False and service.needs_account(answers):
            answers = service.with_account(invocation, answers)
            if answers.run_as is not None:
                continue
        if not invocation.terminal.confirm("Mend it, then: try again?", default=True):
            return code, answers
