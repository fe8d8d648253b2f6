"""Checks identities and pins before any tunnel of a configuration is started: local faults are not retried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ioconnect.errors import HostKeyUnpinned
from ioconnect.keys import known_hosts
from ioconnect.keys.credentials import identity_path, load_identity

if TYPE_CHECKING:
    from ioconnect.config.configuration import Config
    from ioconnect.config.paths import Paths


def check(config: Config, paths: Paths) -> None:
    """Raise the fault of the first tunnel with an identity that cannot be used, or no host key pinned.

    Raises IdentityMissing, IdentityUnreadable or HostKeyUnpinned.
    """
    for tunnel in {identity_path(tunnel, config.agent, paths): tunnel for tunnel in config.tunnels}.values():
        load_identity(tunnel, config.agent, paths)
    pins = known_hosts.load(paths.known_hosts)
    for tunnel in config.tunnels:
        host, port = tunnel.jumphost.host, tunnel.jumphost.port
        if not pins.types_for(host, port):
            raise HostKeyUnpinned(
                f"{tunnel.name}: no host key is pinned for the jumphost {tunnel.jumphost}",
                hint=f"Run: ioconnect pin {tunnel.name}",
            )
