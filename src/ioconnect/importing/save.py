"""Writes what an import plans: an identity if one is missing, the inherited host keys, and last the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ioconnect.config import configuration
from ioconnect.errors import Fault
from ioconnect.importing import inherited_keys
from ioconnect.keys import identity, known_hosts, public_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ioconnect.config.addresses import HostPort
    from ioconnect.config.configuration import Config, Tunnel
    from ioconnect.config.paths import Paths
    from ioconnect.importing.inherited_keys import HostKeys
    from ioconnect.importing.plan import Plan, PlannedTunnel


def save(
    planned: Plan, pins: Mapping[HostPort, HostKeys], own_key: Path, paths: Paths, *, say: Callable[[str], None]
) -> None:
    """Make the new tunnels of the plan; `say` is told of every step.

    Raises CannotCreate and IdentityUnreadable, before the configuration is written.
    """
    new = [one for one in planned.tunnels if one.is_new]
    _replace_lost_keys(new, own_key, say)
    for jumphost, keys in pins.items():
        if keys.blobs:
            known_hosts.pin(paths.known_hosts, jumphost.host, jumphost.port, keys.blobs, seen=keys.pins)
            fingerprints = ", ".join(map(public_keys.fingerprint, keys.blobs))
            say(f"Pinned {jumphost}, as its known_hosts has it: {fingerprints}")
    if new:
        configuration.change(paths.config, lambda now: _with_tunnels(now, [one.tunnel for one in new]))
        say(f"Saved {', '.join(one.tunnel.name for one in new)} in {paths.config}.")


def _with_tunnels(config: Config, tunnels: Sequence[Tunnel]) -> Config:
    for tunnel in tunnels:
        config = configuration.with_tunnel(config, tunnel, replace=False)
    return config


def unusable_keys(planned: Plan) -> list[Fault]:
    """Return the fault of each inherited key that the agent could not use, each once."""
    faults: list[Fault] = []
    for key in dict.fromkeys(one.tunnel.identity for one in planned.tunnels if one.is_new and one.tunnel.identity):
        try:
            identity.load(key)
        except Fault as fault:  # noqa: PERF203  a handful of keys
            faults.append(fault)
    return faults


def _replace_lost_keys(new: Sequence[PlannedTunnel], own_key: Path, say: Callable[[str], None]) -> None:
    """Show our public key for the tunnels whose own is not on this machine; make it if there is none."""
    lost = [one.tunnel.name for one in new if not any(map(inherited_keys.private_key_of, one.found))]
    if lost:
        line, _ = identity.generate(own_key)
        say(
            f"The key that {', '.join(lost)} signed in with is not on this machine. This one is for the field "
            f'"Your SSH Public Key" in the Integrate.io UI:\n\n{line}\n'
        )
