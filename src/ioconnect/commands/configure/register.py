"""Hand over the public key, take the Tunnel Endpoint that comes back, save the tunnel.

Nothing is written before everything that was given has been checked; the configuration is written last, in one step.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ioconnect.config import addresses, configuration, pasted
from ioconnect.console.selection import default_name
from ioconnect.errors import ConfigInvalid, Fault, UsageFault
from ioconnect.escape import escaped
from ioconnect.keys import identity
from ioconnect.status import lock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ioconnect.config.configuration import Config, HostPort, Tunnel
    from ioconnect.config.pasted import Pasted
    from ioconnect.config.paths import Paths
    from ioconnect.console.terminal import Terminal

ENDPOINT_EXAMPLE = "virginia-tunnel.flydata.app:58115"
TARGET_EXAMPLE = "localhost:3306"


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line says; None is what it leaves open. Options win over what `paste` says."""

    name: str | None = None
    paste: str | None = None
    endpoint: str | None = None
    target: str | None = None
    ssh_port: int | None = None
    ssh_user: str | None = None
    proxy: str | None = None
    force: bool = False


def read_paste(stream: TextIO) -> str:
    """Read all that is pasted there, at most what can be a line; what is not UTF-8 is kept readable."""
    return stream.buffer.read(4 * pasted.MAX_TEXT).decode("utf-8", "backslashreplace")


def register(request: Request, paths: Paths, terminal: Terminal, environ: Mapping[str, str]) -> str:
    """Save the tunnel that `request` describes and return its name; asks on a terminal for what is missing.

    Makes the identity if there is none. Raises UsageFault, ConfigInvalid, CannotCreate, IdentityUnreadable.
    """
    known = configuration.load(paths.config, or_empty=True)
    name = configuration.check_name(request.name or default_name(known))
    own = known.agent.identity or paths.identity
    given = _given(request, environ)
    if given.endpoint is None or given.target is None:
        _refuse_early(known, name, given, force=request.force, interactive=terminal.is_interactive)
        _show_own_key(own, terminal)
        given = _asked(given, terminal, environ)
        tunnel = given.tunnel(name, own)
        changed = _with(known, tunnel, force=request.force)
        if tunnel.identity is not None:
            _show_taken_key(tunnel.identity, terminal)
    else:
        tunnel = given.tunnel(name, own)
        changed = _with(known, tunnel, force=request.force)
        _show_key(tunnel, given, own, terminal)
    if given.ignored:
        terminal.say(f"Not taken over from the pasted line: {escaped(', '.join(given.ignored))}")
    if changed == known:
        terminal.say(f"The tunnel {name} is registered like this already.")
    else:
        configuration.save(paths.config, changed)
        terminal.say(f"Saved the tunnel {name}: {tunnel.endpoint} leads to {tunnel.target}.")
        start = "ioconnect up --daemon" if lock.holder(paths.lock) is None else "ioconnect reload"
        terminal.say(f"Next: ioconnect pin {name}, then {start}.")
    return name


@dataclass(frozen=True, slots=True)
class _Given:
    """The request with every text checked."""

    endpoint: HostPort | None
    target: HostPort | None
    ssh_port: int | None
    ssh_user: str | None
    proxy: str
    identity: str | None = None
    ignored: tuple[str, ...] = ()

    def tunnel(self, name: str, own: Path) -> Tunnel:
        """Return the tunnel; both addresses must be there. Its identity is set only if it is not our `own`."""
        assert self.endpoint is not None
        assert self.target is not None
        key = _existing(self.identity)
        return configuration.Tunnel(
            name,
            self.endpoint,
            self.target,
            ssh_port=self.ssh_port or configuration.DEFAULT_SSH_PORT,
            ssh_user=self.ssh_user or configuration.DEFAULT_SSH_USER,
            proxy=self.proxy,
            identity=None if key == own else key,
        )

    def completed_by(self, read: Pasted) -> _Given:
        """Return this with what a pasted line adds; what was given stays."""
        return replace(
            self,
            endpoint=self.endpoint or read.endpoint,
            target=self.target or read.target,
            ssh_port=self.ssh_port or read.ssh_port,
            ssh_user=self.ssh_user or read.ssh_user,
            identity=self.identity or read.identity,
            ignored=self.ignored + read.ignored,
        )


def _given(request: Request, environ: Mapping[str, str]) -> _Given:
    given = _Given(
        endpoint=None
        if request.endpoint is None
        else configuration.parse_host_port(request.endpoint, path="--endpoint"),
        target=None if request.target is None else configuration.parse_host_port(request.target, path="--to"),
        ssh_port=request.ssh_port,
        ssh_user=None if request.ssh_user is None else _checked(addresses.user, "--ssh-user", request.ssh_user),
        proxy="" if request.proxy is None else _checked(addresses.proxy, "--proxy", request.proxy),
    )
    return given if request.paste is None else given.completed_by(pasted.parse(request.paste, environ=environ))


def _checked(check: Callable[[str], str], option: str, text: str) -> str:
    try:
        return check(text)
    except ValueError as error:
        raise UsageFault(f"{option}: {error}") from None


def _refuse_early(known: Config, name: str, given: _Given, *, force: bool, interactive: bool) -> None:
    """Refuse before anybody is asked for what would be refused afterwards."""
    needed = (("--endpoint HOST:PORT", given.endpoint), ("--to HOST:PORT", given.target))
    missing = [option for option, value in needed if value is None]
    if not interactive:
        example = f"ioconnect register {name} --endpoint {ENDPOINT_EXAMPLE} --to {TARGET_EXAMPLE}"
        raise UsageFault(f"missing: {' and '.join(missing)}", hint=f"Like: {example}")
    if not force and any(tunnel.name == name for tunnel in known.tunnels):
        raise UsageFault(f"the tunnel {name} exists already", hint="Use --force to change it, or another name.")


def _with(known: Config, tunnel: Tunnel, *, force: bool) -> Config:
    """Return the configuration with the tunnel, unchanged if it is there like this. Raises as register."""
    if tunnel in known.tunnels:
        return known
    endpoint = (tunnel.endpoint.host.lower(), tunnel.endpoint.port)
    for other in known.tunnels:
        if other.name != tunnel.name and (other.endpoint.host.lower(), other.endpoint.port) == endpoint:
            raise ConfigInvalid(
                f"the tunnel {other.name} has the endpoint {tunnel.endpoint} already",
                hint="Two tunnels would fight for one port: change that one, or check the Tunnel Endpoint.",
            )
    return configuration.with_tunnel(known, tunnel, replace=force)


def _asked(given: _Given, terminal: Terminal, environ: Mapping[str, str]) -> _Given:
    """Return `given` with the answers to what it leaves open."""
    if given.endpoint is None:
        question = "Tunnel Endpoint that the UI shows now (or any ssh line from there)"
        given = given.completed_by(terminal.ask(question, lambda text: pasted.parse(text, environ=environ)))
    if given.target is None:
        question = f"Database as seen from this machine, like {TARGET_EXAMPLE}"
        given = replace(
            given, target=terminal.ask(question, lambda text: configuration.parse_host_port(text, path="database"))
        )
    return given


def _existing(written: str | None) -> Path | None:
    """Return the key file that a pasted line names, if it is on this machine."""
    if written is None:
        return None
    path = Path(written).expanduser().absolute()
    return path if os.path.isfile(path) else None  # noqa: PTH113  pathlib's raises where we may not look


def _show_key(tunnel: Tunnel, given: _Given, own: Path, terminal: Terminal) -> None:
    """Show the public key that Integrate.io must know for this tunnel."""
    if tunnel.identity is not None:
        _show_taken_key(tunnel.identity, terminal)
        return
    if given.identity is not None and _existing(given.identity) is None:
        terminal.say(f"The key that the pasted line names is not on this machine: {escaped(given.identity)}")
    _show_own_key(own, terminal)


def _show_own_key(own: Path, terminal: Terminal) -> None:
    """Show our public key; make the identity if there is none."""
    line, made = identity.generate(own)
    if made:
        terminal.say(f"Made the identity {own}")
    terminal.say(f'Your public key, for the field "Your SSH Public Key" in the Integrate.io UI:\n\n{line}\n')


def _show_taken_key(key: Path, terminal: Terminal) -> None:
    """Say that the key of a pasted line is taken, and what the agent would not like about it."""
    terminal.say(f"Using the key that the pasted line names: {key}")
    try:
        identity.load(key)
    except Fault as fault:
        terminal.warn(fault)
