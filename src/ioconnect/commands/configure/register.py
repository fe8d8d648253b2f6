"""`ioconnect register`: hand over the public key, take the Tunnel Endpoint that comes back, save the tunnel.

Nothing is written before everything that was given has been checked, except an identity that is missing; the
configuration is written last.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ioconnect.commands.run.agent import how_to_take_over
from ioconnect.config import addresses, configuration, pasted
from ioconnect.console.command_group import FILE, PORT, command, json_option, name_argument
from ioconnect.console.selection import default_name
from ioconnect.console.terminal import read_stdin
from ioconnect.errors import ConfigInvalid, Fault, UsageFault
from ioconnect.escape import escaped, escaped_path
from ioconnect.keys import identity, known_hosts
from ioconnect.registration import request
from ioconnect.registration.request import ENDPOINT_EXAMPLE, TARGET_EXAMPLE, Request

if TYPE_CHECKING:
    from pathlib import Path

    from ioconnect.config.configuration import Config, Tunnel
    from ioconnect.console.invocation import Invocation
    from ioconnect.console.terminal import Terminal
    from ioconnect.registration.request import PartialTunnel


@command(
    "register",
    examples=[
        "ioconnect register --endpoint virginia-tunnel.flydata.app:58115 --to localhost:3306",
        "ioconnect register orders --paste 'ssh -NR 58115:db:3306 sshtunnel@virginia-tunnel.flydata.app -p 50683'",
        "pbpaste | ioconnect register orders --paste -",
        "ioconnect register orders --api https://api.example.com --token-file ~/.token --to localhost:3306",
    ],
)
@name_argument
@click.option("--endpoint", metavar="HOST:PORT", help="The Tunnel Endpoint, as the Integrate.io UI shows it.")
@click.option("--to", "target", metavar="HOST:PORT", help="The database, as seen from this machine, or unix:/PATH.")
@click.option("--paste", metavar="TEXT", help="Any ssh or autossh line that the UI shows; - reads it from stdin.")
@click.option("--api", metavar="URL", help="Hand the key over by HTTP; pins the host keys that come back.")
@click.option(
    "--token-file",
    type=FILE,
    metavar="FILE",
    help="With --api: holds the token (else IOCONNECT_TOKEN_FILE, or the keyring).",
)
@click.option("--ssh-port", type=PORT, metavar="N", help="The jumphost's SSH port (50683).")
@click.option("--ssh-user", metavar="USER", help="The user on the jumphost (sshtunnel).")
@click.option("--proxy", metavar="URL", help="http://user@host:3128, socks5://host:1080, or none.")
@click.option("--force", is_flag=True, help="Change a tunnel that exists.")
@json_option
@click.pass_obj
def register(
    invocation: Invocation,
    /,
    name: str | None,
    api: str | None,
    token_file: Path | None,
    *,
    force: bool,
    **described: Any,
) -> None:
    """Hand over the public key and save the tunnel that it is for.

    Shows the public key to paste in the Integrate.io UI, takes the Tunnel Endpoint that the UI gives back, and
    asks on a terminal for what is missing.
    """
    if api is None and token_file is not None:
        raise UsageFault("--token-file goes with --api only", hint="Give --api URL, too.")
    if api is not None:
        tunnel, changed = _register_by_api(invocation, name, api, token_file, force=force, **described)
    else:
        if described["paste"] == "-":
            described["paste"] = read_stdin(pasted.MAX_BYTES)
        tunnel, changed = _register_by_hand(invocation, name, Request(**described), force=force)
    request.warn_of_visible_password(described["proxy"], invocation.paths.config, invocation.terminal.warn)
    invocation.answer(
        tunnel.name,
        name=tunnel.name,
        jumphost=str(tunnel.jumphost),
        listen_port=tunnel.listen_port,
        target=str(tunnel.target),
        ssh_user=tunnel.ssh_user,
        public_key=_public_key(tunnel, invocation),
        pinned=_is_pinned(tunnel, invocation),
        changed=changed,
    )


def _register_by_api(
    invocation: Invocation,
    name: str | None,
    api: str,
    token_file: Path | None,
    *,
    target: str | None,
    proxy: str | None,
    force: bool,
    **answered: object,
) -> tuple[Tunnel, bool]:
    """Register over the API; return the tunnel and whether that changed it.

    `answered` are the options that the API's answer has.
    """
    from ioconnect.registration import enrol  # noqa: PLC0415  brings ssl

    excluded = [f"--{option.replace('_', '-')}" for option, value in answered.items() if value is not None]
    if excluded:
        raise UsageFault(f"--api excludes {', '.join(excluded)}: that is what the API answers", hint="Leave it out.")
    terminal, paths = invocation.terminal, invocation.paths
    wanted = enrol.Request(name, api, target, token_file, proxy, force)
    tunnel, was_saved = enrol.enrol(wanted, paths, os.environ, say=terminal.say)
    if was_saved:
        terminal.say(f"The tunnel {tunnel.name} is registered like this already.")
    else:
        _say_saved(tunnel, terminal)
        terminal.say(f"Next: {how_to_take_over(paths)}.")
    return tunnel, not was_saved


def _register_by_hand(
    invocation: Invocation, name: str | None, described: Request, *, force: bool
) -> tuple[Tunnel, bool]:
    """Save the described tunnel; return it and whether that changed it. Asks on a terminal for missing addresses.

    Makes the identity if there is none. Raises UsageFault, ConfigInvalid, CannotCreate, IdentityUnreadable.
    """
    terminal, paths = invocation.terminal, invocation.paths
    known = configuration.load(paths.config, or_empty=True)
    name = configuration.check_name(name or default_name(known))
    own_key = known.agent.identity or paths.identity
    partial = request.check(described, os.environ)
    if partial.endpoint is None or partial.target is None:
        _refuse_early(known, name, partial, force=force, interactive=terminal.is_interactive)
        _show_own_key(own_key, terminal)
        partial = _ask_for_addresses(partial, terminal)
        tunnel = partial.tunnel(name, own_key)
        changed = request.with_tunnel(known, tunnel, force=force)
        if tunnel.identity is not None:
            _show_key_of_paste(tunnel.identity, terminal)
    else:
        tunnel = partial.tunnel(name, own_key)
        changed = request.with_tunnel(known, tunnel, force=force)
        _show_key(tunnel, partial, own_key, terminal)
    if partial.ignored:
        terminal.say(f"Not taken over from the pasted line: {escaped(', '.join(partial.ignored))}")
    if changed == known:
        terminal.say(f"The tunnel {name} is registered like this already.")
    else:
        configuration.change(paths.config, lambda now: request.with_tunnel(now, tunnel, force=force))
        _say_saved(tunnel, terminal)
        pin = () if _is_pinned(tunnel, invocation) else (f"ioconnect pin {name}",)
        terminal.say(f"Next: {', then '.join((*pin, how_to_take_over(paths)))}.")
    return tunnel, changed != known


def _refuse_early(known: Config, name: str, partial: PartialTunnel, *, force: bool, interactive: bool) -> None:
    """Raise UsageFault before anybody is asked, if nobody can be or the tunnel could not be saved."""
    needed = (("--endpoint HOST:PORT", partial.endpoint), ("--to HOST:PORT", partial.target))
    missing = [option for option, value in needed if value is None]
    if not interactive:
        example = f"ioconnect register {name} --endpoint {ENDPOINT_EXAMPLE} --to {TARGET_EXAMPLE}"
        raise UsageFault(f"missing: {' and '.join(missing)}", hint=f"Like: {example}")
    if not force and any(tunnel.name == name for tunnel in known.tunnels):
        raise UsageFault(f"the tunnel {name} exists already", hint="Use --force to change it, or another name.")


def _ask_for_addresses(partial: PartialTunnel, terminal: Terminal) -> PartialTunnel:
    """Return `partial` with both addresses."""
    if partial.endpoint is None:
        question = "Tunnel Endpoint that the UI shows now (or any ssh line from there)"
        partial = partial.completed_by(terminal.ask(question, lambda text: pasted.parse(text, environ=os.environ)))
    if partial.target is None:
        question = f"Database as seen from this machine, like {TARGET_EXAMPLE}"
        target = terminal.ask(question, lambda text: addresses.parse_target(text, path="database"))
        partial = replace(partial, target=target)
    return partial


def _show_key(tunnel: Tunnel, partial: PartialTunnel, own_key: Path, terminal: Terminal) -> None:
    """Show the public key that Integrate.io must know for this tunnel."""
    if tunnel.identity is not None:
        _show_key_of_paste(tunnel.identity, terminal)
        return
    if partial.written_key is not None and partial.key is None:
        terminal.say(f"The key that the pasted line names is not on this machine: {escaped(partial.written_key)}")
    _show_own_key(own_key, terminal)


def _show_own_key(own_key: Path, terminal: Terminal) -> None:
    """Show our public key; make the identity if there is none."""
    line, made = identity.generate(own_key)
    if made:
        terminal.say(f"Made the identity {escaped_path(own_key)}")
    terminal.say(f'Your public key, for the field "Your SSH Public Key" in the Integrate.io UI:\n\n{line}\n')


def _show_key_of_paste(key: Path, terminal: Terminal) -> None:
    """Say that the key of a pasted line is taken, and warn if the agent could not use it."""
    terminal.say(f"Using the key that the pasted line names: {escaped_path(key)}")
    try:
        identity.load(key)
    except Fault as fault:
        terminal.warn(fault)


def _say_saved(tunnel: Tunnel, terminal: Terminal) -> None:
    terminal.say(f"Saved the tunnel {tunnel.name}: {tunnel.endpoint} leads to {tunnel.target}.")


def _is_pinned(tunnel: Tunnel, invocation: Invocation) -> bool:
    """Say whether a host key of the jumphost is pinned; not if the pins cannot be read, which `pin` then says."""
    with contextlib.suppress(ConfigInvalid):
        pins = known_hosts.load(invocation.paths.known_hosts)
        return bool(pins.fingerprints_for(tunnel.jumphost.host, tunnel.jumphost.port))
    return False


def _public_key(tunnel: Tunnel, invocation: Invocation) -> str | None:
    """Return the public line of the tunnel's identity, for the answer in JSON; None if it cannot be read."""
    with contextlib.suppress(Fault):
        return identity.public_line(tunnel.identity or invocation.config.agent.identity or invocation.paths.identity)
    return None
