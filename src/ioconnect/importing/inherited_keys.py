"""The keys that a new tunnel inherits from the old one: its identity, and the host keys that its ssh trusts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.config.addresses import HostPort
from ioconnect.errors import ConfigInvalid
from ioconnect.keys import known_hosts
from ioconnect.keys.known_hosts import Pins

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ioconnect.config.configuration import Tunnel
    from ioconnect.importing.plan import PlannedTunnel
    from ioconnect.importing.source import FoundTunnel

DEFAULT_KEY = Path(".ssh", "id_ed25519")  # the only one of ssh's default keys whose type the jumphost accepts
DEFAULT_KNOWN_HOSTS = (Path(".ssh", "known_hosts"), Path(".ssh", "known_hosts2"))  # ssh_config(5)


@dataclass(frozen=True, slots=True)
class HostKeys:
    """A jumphost's host keys: some are `pinned` already, or `blobs` are to be pinned.

    Neither, if it is `known` by lines that are no usable pins: then no account's word is taken for it.
    """

    blobs: tuple[bytes, ...]
    pinned: bool
    known: tuple[int, ...]
    pins: Pins

    @property
    def description(self) -> str:
        """The same as text."""
        if self.pinned:
            return "pinned already"
        if self.known:
            return known_hosts.no_usable(self.known)
        return f"{len(self.blobs)} from its known_hosts" if self.blobs else "none yet"


def private_key_of(found: FoundTunnel) -> Path | None:
    """Return the private key that the line authenticates with, None if it is not on this machine."""
    written = found.tunnel.identity
    path = Path(written) if written else Path(found.home, DEFAULT_KEY) if found.home else None
    # os.path's, because pathlib's raises without permission.
    return path.absolute() if path is not None and os.path.isfile(path) else None  # noqa: PTH113


def host_keys(tunnels: Sequence[PlannedTunnel], pins_file: Path) -> dict[HostPort, HostKeys]:
    """Return the host keys that the tunnels' ssh trusts, by jumphost; nothing is added to what the pins say of one.

    Where several accounts connect to one jumphost, only what all of them trust: none of them vouches for another.
    Raises ConfigInvalid if the pins cannot be read.
    """
    pins = known_hosts.load(pins_file)
    known: dict[HostPort, HostKeys] = {}
    for jumphost in dict.fromkeys(jumphost_of(plan.tunnel) for plan in tunnels):
        host, port = jumphost.host, jumphost.port
        found_tunnels = [found for plan in tunnels if jumphost_of(plan.tunnel) == jumphost for found in plan.found]
        trusted = _trusted_by_all_accounts(found_tunnels, jumphost)
        lines = pins.mentions(host, port)
        blobs = () if lines else tuple(trusted)
        known[jumphost] = HostKeys(blobs, bool(pins.blobs_for(host, port)), lines, pins)
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
    """Return the jumphost's keys in the known_hosts files that the line's ssh reads; none if one is not readable.

    A key that one of them revokes is none of another's.
    """
    if found.tunnel.known_hosts:
        files = [Path(found.tunnel.known_hosts)]
    else:
        files = [Path(found.home, name) for name in DEFAULT_KNOWN_HOSTS] if found.home else []
    try:
        entries = [entry for file in files for entry in known_hosts.load(file).entries]
    except ConfigInvalid:  # another user's, or a folder
        return ()
    return Pins(tuple(entries)).blobs_for(jumphost.host, jumphost.port)
