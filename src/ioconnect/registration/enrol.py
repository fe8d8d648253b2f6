"""Registers a tunnel over the API: hands the public key over, pins the host keys that come back, saves the tunnel.

Nothing is written before the whole answer has been checked, except an identity that is missing; the configuration is
written last. The same request again gets the same answer and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ioconnect.config import addresses, configuration
from ioconnect.console.selection import default_name
from ioconnect.errors import AlgorithmsMismatch, HostKeyChanged, UsageFault
from ioconnect.keys import identity, known_hosts, public_keys
from ioconnect.registration import api_token, client

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ioconnect.config.addresses import HostPort, Target
    from ioconnect.config.configuration import Config, Tunnel
    from ioconnect.config.paths import Paths
    from ioconnect.registration.client import Registration


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be registered: `api` is the API's URL, `target` the database."""

    name: str | None
    api: str
    target: str | None
    token_file: Path | None = None
    proxy: str | None = None
    force: bool = False


def enrol(
    request: Request, paths: Paths, environ: Mapping[str, str], *, say: Callable[[str], None]
) -> tuple[Tunnel, bool]:
    """Register the tunnel, save it, and return it and whether it was saved like this before. Blocks.

    Makes the identity if there is none. `say` is told of every step. Raises UsageFault, ConfigInvalid, TokenUnusable,
    what `client.register` raises, HostKeyChanged if another host key is pinned, CannotCreate.
    """
    api = client.checked_url(request.api)
    known = configuration.load(paths.config, or_empty=True)
    name = configuration.check_name(request.name or default_name(known))
    target = _target(request.target, name)
    proxy = _proxy(request.proxy)
    _refuse_early(known, name, target, proxy, force=request.force)
    token = api_token.find(api.base, request.token_file, environ)
    own_key = known.agent.identity or paths.identity
    public, made = identity.generate(own_key)
    if made:
        say(f"Made the identity {own_key}")
    say(f"Registering {name} at {api.base} …")
    answer = client.register(api, token, name, public)
    tunnel = configuration.Tunnel(
        name, answer.endpoint, target, ssh_port=answer.ssh_port, ssh_user=answer.ssh_user, proxy=proxy
    )
    was_saved = tunnel in known.tunnels
    _with_tunnel(known, tunnel, force=request.force)  # refuses before anything is pinned
    _pin(tunnel.jumphost, answer, paths, say, force=request.force)
    if not was_saved:
        configuration.change(paths.config, lambda now: _with_tunnel(now, tunnel, force=request.force))
    return tunnel, was_saved


def _refuse_early(known: Config, name: str, target: Target, proxy: str, *, force: bool) -> None:
    """Raise UsageFault for what could not be saved, before anything is registered."""
    for tunnel in known.tunnels:
        as_wanted = (tunnel.target, tunnel.proxy, tunnel.identity) == (target, proxy, None)
        if tunnel.name == name and not as_wanted and not force:
            raise UsageFault(f"the tunnel {name} exists already", hint="Use --force to change it, or another name.")


def _with_tunnel(config: Config, tunnel: Tunnel, *, force: bool) -> Config:
    return config if tunnel in config.tunnels else configuration.with_tunnel(config, tunnel, replace=force)


def _target(text: str | None, name: str) -> Target:
    if text is None:
        example = f"ioconnect register {name} --api URL --to localhost:3306"
        raise UsageFault("missing: --to HOST:PORT, the database as seen from this machine", hint=f"Like: {example}")
    return addresses.parse_target(text, path="--to")


def _proxy(text: str | None) -> str:
    try:
        return addresses.proxy(text or "")
    except ValueError as error:
        raise UsageFault(f"--proxy: {error}") from None


def _pin(jumphost: HostPort, answer: Registration, paths: Paths, say: Callable[[str], None], *, force: bool) -> None:
    """Pin the answer's host keys.

    Raises HostKeyChanged if one is revoked, or (unless `force`) not pinned though the pins have a line about the
    jumphost; AlgorithmsMismatch if one is too short.
    """
    pins = known_hosts.load(paths.known_hosts)
    pinned = pins.blobs_for(jumphost.host, jumphost.port)
    told = ", ".join(map(public_keys.fingerprint, answer.host_keys))
    statuses = {pins.check(jumphost.host, jumphost.port, blob) for blob in answer.host_keys}
    if known_hosts.HostKeyStatus.REVOKED in statuses:
        raise HostKeyChanged(
            f"the API names a host key of {jumphost} that is marked as revoked: {told}",
            hint="Nothing was saved. Somebody may pose as the jumphost: ask Integrate.io.",
        )
    if known_hosts.HostKeyStatus.TOO_SHORT in statuses:
        raise AlgorithmsMismatch(
            f"the API names an RSA host key of {jumphost} with less than {public_keys.MIN_RSA_BITS} bits: {told}",
            hint="Nothing was saved. Ask Integrate.io for a jumphost with an ed25519 host key.",
        )
    if pinned and set(answer.host_keys) <= set(pinned):
        return
    lines = pins.mentions(jumphost.host, jumphost.port)
    if lines and not force:
        known = ", ".join(map(public_keys.fingerprint, pinned)) or known_hosts.no_usable(lines)
        raise HostKeyChanged(
            f"the API names another host key of {jumphost} than the pinned one\npinned: {known}\nnamed: {told}",
            hint="Nothing was saved. Ask Integrate.io which one is right; --force takes the API's.",
        )
    known_hosts.pin(paths.known_hosts, jumphost.host, jumphost.port, answer.host_keys, seen=pins)
    say(f"Pinned {jumphost}, as the API has it: {told}")
