"""The keys that a new tunnel inherits from the old one: its identity, and the host keys that its ssh trusts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.config.addresses import HostPort
from ioconnect.errors import ConfigInvalid
from ioconnect.keys import known_hosts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ioconnect.config.configuration import Tunnel
    from ioconnect.importing.plan import PlannedTunnel
    from ioconnect.importing.source import FoundTunnel

DEFAULT_KEY = Path(".ssh", "id_ed25519")  # the only one of ssh's default keys whose type the jumphost accepts
DEFAULT_KNOWN_HOSTS = (Path(".ssh", "known_hosts"), Path(".ssh", "known_hosts2"))  # ssh_config(5)


@dataclass(frozen=True, slots=True)
class HostKeys:
    """A jumphost's host keys: some are `pinned` already, or `blobs` are to be pinned."""

    blobs: tuple[bytes, ...]
    pinned: bool

    @property
    def description(self) -> str:
        """The same as text."""
        if self.pinned:
            return "pinned already"
        return f"{len(self.blobs)} from its known_hosts" if self.blobs else "none yet"


def private_key_of(found: FoundTunnel) -> Path | None:
    """Return the private key that the line authenticates with, None if it is not on this machine."""
    written = found.tunnel.identity
    path = Path(written) if written else Path(found.home, DEFAULT_KEY) if found.home else None
    # os.path's, because pathlib's raises without permission.
    return path.absolute() if path is not None and os.path.isfile(path) else None  # noqa: PTH113


def host_keys(tunnels: Sequence[PlannedTunnel], pins_file: Path) -> dict[HostPort, HostKeys]:
    """Return the host keys that the tunnels' ssh trusts, by jumphost; existing pins are never replaced.

    Where several accounts connect to one jumphost, only what all of them trust: none of them vouches for another. A
    key that the pins revoke is left out. Raises ConfigInvalid if the pins cannot be read.
    """
    pins = known_hosts.load(pins_file)
    known: dict[HostPort, HostKeys] = {}
    for jumphost in dict.fromkeys(jumphost_of(plan.tunnel) for plan in tunnels):
        host, port = jumphost.host, jumphost.port
        found_tunnels = [found for plan in tunnels if jumphost_of(plan.tunnel) == jumphost for found in plan.found]
        trusted = _trusted_by_all_accounts(found_tunnels, jumphost)
        revoked = {blob for blob in trusted if pins.check(host, port, blob) is known_hosts.HostKeyStatus.REVOKED}
        is_pinned = bool(pins.blobs_for(host, port))
        blobs = () if is_pinned else tuple(blob for blob in trusted if blob not in revoked)
        known[jumphost] = HostKeys(blobs, is_pinned)
    return known


def jumphost_of(tunnel: Tunnel) -> HostPort:
    """Return the tunnel's jumphost with its name in lower case."""
    return HostPort(tunnel.endpoint.host.lower(), tunnel.ssh_port)


def _trusted_by_all_accounts(found_tunnels: Iterable[FoundTunnel], jumphost: HostPort) -> list[bytes]:
    """Return the keys that the lines of each account trust; a home folder stands for an account."""
    by_account: dict[str | None, dict[bytes, None]] = {}
    for found in found_tunnels:
        by_account.setdefault(found.home, {}).update(dict.fromkeys(_trusted_keys(found, jumphost)))
    first, *others = by_account.values()
    return [blob for blob in first if all(blob in other for other in others)]


def _trusted_keys(found: FoundTunnel, jumphost: HostPort) -> Iterable[bytes]:
    """Yield the jumphost's keys in the known_hosts files that the line's ssh reads, as far as they are readable."""
    if found.tunnel.known_hosts:
        files = [Path(found.tunnel.known_hosts)]
    else:
        files = [Path(found.home, name) for name in DEFAULT_KNOWN_HOSTS] if found.home else []
    for file in files:
        try:
            pins = known_hosts.load(file)
        except ConfigInvalid:  # another user's, or a folder
            continue
        yield from pins.blobs_for(jumphost.host, jumphost.port)
