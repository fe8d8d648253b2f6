"""`register --api`: hand the key over by HTTP, pin the host keys that come back, save the tunnel.

Nothing is written here before the whole answer has been checked; the configuration is written last. Run again, it
gets the same answer and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ioconnect.config import addresses, configuration
from ioconnect.console.selection import default_name
from ioconnect.errors import HostKeyChanged, UsageFault
from ioconnect.keys import identity, known_hosts
from ioconnect.registration import api_token, client
from ioconnect.status import lock

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from ioconnect.config.configuration import Config, HostPort
    from ioconnect.config.paths import Paths
    from ioconnect.console.terminal import Terminal
    from ioconnect.registration.client import Registration


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line says; `target` is the database."""

    name: str | None
    api: str
    target: str | None
    token_file: Path | None = None
    proxy: str | None = None
    force: bool = False


def from_options(*, api: str | None, to: str | None, token_file: Path | None, **options: Any) -> Request:
    """Return what the options of `register` ask for. Raises UsageFault for those that exclude each other."""
    if api is None:
        raise UsageFault("--token-file goes with --api only", hint="Give --api URL, too.")
    request = Request(options.pop("name"), api, to, token_file, options.pop("proxy"), options.pop("force"))
    answered = [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]
    if answered:
        raise UsageFault(f"--api excludes {', '.join(answered)}: that is what the API answers", hint="Leave it out.")
    return request


def enrol(request: Request, paths: Paths, terminal: Terminal, environ: Mapping[str, str]) -> str:
    """Register and save the tunnel, and return its name; makes the identity if there is none. Blocks.

    Raises UsageFault, ConfigInvalid, TokenUnusable, what `client.register` raises, HostKeyChanged if another host
    key is pinned, CannotCreate.
    """
    api = client.checked_url(request.api)
    known = configuration.load(paths.config, or_empty=True)
    name = configuration.check_name(request.name or default_name(known))
    target = _target(request.target, name)
    proxy = _proxy(request.proxy)
    _refuse_early(known, name, target, proxy, force=request.force)
    token = api_token.find(api.base, request.token_file, environ)
    own = known.agent.identity or paths.identity
    public, made = identity.generate(own)
    if made:
        terminal.say(f"Made the identity {own}")
    terminal.say(f"Registering {name} at {api.base} …")
    answer = client.register(api, token, name, public)
    tunnel = configuration.Tunnel(
        name, answer.endpoint, target, ssh_port=answer.ssh_port, ssh_user=answer.ssh_user, proxy=proxy
    )
    is_new = tunnel not in known.tunnels
    changed = configuration.with_tunnel(known, tunnel, replace=request.force) if is_new else known
    _pin(tunnel.jumphost, answer, paths, terminal, force=request.force)
    if not is_new:
        terminal.say(f"The tunnel {name} is registered like this already.")
        return name
    configuration.save(paths.config, changed)
    terminal.say(f"Saved the tunnel {name}: {tunnel.endpoint} leads to {tunnel.target}.")
    start = "ioconnect up --daemon" if lock.holder(paths.lock) is None else "ioconnect reload"
    terminal.say(f"Next: {start}.")
    return name


def _refuse_early(known: Config, name: str, target: HostPort, proxy: str, *, force: bool) -> None:
    """Refuse before anything is registered what could not be saved afterwards."""
    for tunnel in known.tunnels:
        as_wanted = (tunnel.target, tunnel.proxy, tunnel.identity) == (target, proxy, None)
        if tunnel.name == name and not as_wanted and not force:
            raise UsageFault(f"the tunnel {name} exists already", hint="Use --force to change it, or another name.")


def _target(text: str | None, name: str) -> HostPort:
    if text is None:
        example = f"ioconnect register {name} --api URL --to localhost:3306"
        raise UsageFault("missing: --to HOST:PORT, the database as seen from this machine", hint=f"Like: {example}")
    return configuration.parse_host_port(text, path="--to")


def _proxy(text: str | None) -> str:
    try:
        return addresses.proxy(text or "")
    except ValueError as error:
        raise UsageFault(f"--proxy: {error}") from None


def _pin(jumphost: HostPort, answer: Registration, paths: Paths, terminal: Terminal, *, force: bool) -> None:
    """Pin what the API says. Raises HostKeyChanged if that is revoked, or unless `force` if it contradicts a pin."""
    pins = known_hosts.load(paths.known_hosts)
    pinned = pins.blobs_for(jumphost.host, jumphost.port)
    told = ", ".join(map(known_hosts.fingerprint, answer.host_keys))
    statuses = {pins.check(jumphost.host, jumphost.port, blob) for blob in answer.host_keys}
    if known_hosts.HostKeyStatus.REVOKED in statuses:
        raise HostKeyChanged(
            f"the API names a host key of {jumphost} that is marked as revoked: {told}",
            hint="Nothing was saved. Somebody may pose as the jumphost: ask Integrate.io.",
        )
    if set(pinned) == set(answer.host_keys):
        return
    if pinned and not force and not set(pinned) & set(answer.host_keys):
        known = ", ".join(map(known_hosts.fingerprint, pinned))
        raise HostKeyChanged(
            f"the API names another host key of {jumphost} than the pinned one\npinned: {known}\nnamed: {told}",
            hint="Nothing was saved. Ask Integrate.io which one is right; --force takes the API's.",
        )
    known_hosts.pin(paths.known_hosts, jumphost.host, jumphost.port, answer.host_keys)
    terminal.say(f"Pinned {jumphost}, as the API has it: {told}")
