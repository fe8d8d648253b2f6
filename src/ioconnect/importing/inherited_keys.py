"""What a tunnel of old leaves to the new one: the key it signed in with, and the host keys its ssh trusted."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.config.configuration import HostPort
from ioconnect.errors import ConfigInvalid
from ioconnect.keys import known_hosts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ioconnect.config.configuration import Tunnel
    from ioconnect.importing.plan import Planned
    from ioconnect.importing.source import Found

DEFAULT_KEY = Path(".ssh", "id_ed25519")  # of ssh's default keys the only one of a type that the jumphost takes
DEFAULT_KNOWN_HOSTS = (Path(".ssh", "known_hosts"), Path(".ssh", "known_hosts2"))  # ssh_config(5)


@dataclass(frozen=True, slots=True)
class HostKeys:
    """What is known of a jumphost: something is `pinned` already, or `blobs` are to be."""

    blobs: tuple[bytes, ...]
    pinned: bool

    @property
    def shown(self) -> str:
        """The same for people."""
        if self.pinned:
            return "pinned already"
        return f"{len(self.blobs)} from its known_hosts" if self.blobs else "none yet"


def key_of(found: Found) -> Path | None:
    """Return the private key that the line signs in with, None if it is not on this machine."""
    written = found.tunnel.identity
    path = Path(written) if written else Path(found.home, DEFAULT_KEY) if found.home else None
    # os.path's, because pathlib's raises where we may not look.
    return path.absolute() if path is not None and os.path.isfile(path) else None  # noqa: PTH113


def host_keys(tunnels: Sequence[Planned], pins_file: Path) -> dict[HostPort, HostKeys]:
    """Return, for each jumphost, what its tunnels' ssh trusted; our own pins are never replaced.

    A key that our pins mark as revoked is left out. Raises ConfigInvalid if our pins cannot be read.
    """
    pins = known_hosts.load(pins_file)
    known: dict[HostPort, HostKeys] = {}
    for jumphost in dict.fromkeys(jumphost_of(plan.tunnel) for plan in tunnels):
        host, port = jumphost.host, jumphost.port
        founds = [found for plan in tunnels if jumphost_of(plan.tunnel) == jumphost for found in plan.found]
        trusted = dict.fromkeys(blob for found in founds for blob in _trusted(found, jumphost))
        revoked = {blob for blob in trusted if pins.check(host, port, blob) is known_hosts.HostKeyStatus.REVOKED}
        is_pinned = bool(pins.blobs_for(host, port))
        blobs = () if is_pinned else tuple(blob for blob in trusted if blob not in revoked)
        known[jumphost] = HostKeys(blobs, is_pinned)
    return known


def jumphost_of(tunnel: Tunnel) -> HostPort:
    """Return the tunnel's jumphost, the same for every way to write its name."""
    return HostPort(tunnel.endpoint.host.lower(), tunnel.ssh_port)


def _trusted(found: Found, jumphost: HostPort) -> Iterable[bytes]:
    """Yield the jumphost's keys in the known_hosts files that the line's ssh reads, as far as we may read them."""
    if found.tunnel.known_hosts:
        files = [Path(found.tunnel.known_hosts)]
    else:
        files = [Path(found.home, name) for name in DEFAULT_KNOWN_HOSTS] if found.home else []
    for file in files:
        try:
            pins = known_hosts.load(file)
        except ConfigInvalid:  # somebody else's, or a folder: then there is nothing to inherit
            continue
        yield from pins.blobs_for(jumphost.host, jumphost.port)
