"""The keys that a new tunnel inherits from the old one: its identity, and the host keys that its ssh trusts.

A host key in a file that another account may change is offered only: that account would choose the jumphost that ours
signs in to.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.config.addresses import HostPort
from ioconnect.custody.entries import custody_of
from ioconnect.custody.writers import account_name
from ioconnect.errors import ConfigInvalid
from ioconnect.escape import escaped_path
from ioconnect.keys import known_hosts, public_keys
from ioconnect.keys.known_hosts import Pins

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ioconnect.config.configuration import Tunnel
    from ioconnect.importing.plan import PlannedTunnel
    from ioconnect.importing.source import FoundTunnel

DEFAULT_KEY = Path(".ssh", "id_ed25519")  # the only one of ssh's default keys whose type the jumphost accepts
DEFAULT_KNOWN_HOSTS = (Path(".ssh", "known_hosts"), Path(".ssh", "known_hosts2"))  # ssh_config(5)


@dataclass(frozen=True, slots=True)
class InheritedKey:
    """A host key, the file that has it, and the account that may change that file: ours, root or `account`."""

    blob: bytes
    file: Path
    account: str = ""

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the key."""
        return public_keys.fingerprint(self.blob)

    @property
    def origin(self) -> str:
        """Where it comes from, as text."""
        return f"from {escaped_path(self.file)}" + (f", which {self.account} may change" if self.account else "")


@dataclass(frozen=True, slots=True)
class HostKeys:
    """A jumphost's host keys: some are `pinned` already, or `taken` are to be pinned, `offered` if somebody agrees.

    None of these, if it is `known` by lines that are no usable pins: then no account's word is taken for it.
    """

    taken: tuple[InheritedKey, ...]
    offered: tuple[InheritedKey, ...]
    pinned: bool
    known: tuple[int, ...]
    pins: Pins

    @property
    def blobs(self) -> tuple[bytes, ...]:
        """The keys to pin."""
        return tuple(key.blob for key in self.taken)

    @property
    def description(self) -> str:
        """The same as text."""
        if self.pinned:
            return "pinned already"
        if self.known:
            return known_hosts.no_usable(self.known)
        found = [f"{len(self.taken)} from its known_hosts"] if self.taken else []
        found += [f"{len(self.offered)} that another account may have chosen"] if self.offered else []
        return ", ".join(found) or "none yet"

    def with_offered(self, accepted: Sequence[InheritedKey]) -> HostKeys:
        """Return them with these of the offered keys taken."""
        left = tuple(key for key in self.offered if key not in accepted)
        return replace(self, taken=(*self.taken, *accepted), offered=left)


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
        lines = pins.mentions(host, port)
        keys = [] if lines else _trusted_by_all_accounts(found_tunnels, jumphost)
        taken, offered = (tuple(key for key in keys if bool(key.account) is others) for others in (False, True))
        known[jumphost] = HostKeys(taken, offered, bool(pins.blobs_for(host, port)), lines, pins)
    return known


def jumphost_of(tunnel: Tunnel) -> HostPort:
    """Return the tunnel's jumphost with its name in lower case."""
    return HostPort(tunnel.endpoint.host.lower(), tunnel.ssh_port)


def _trusted_by_all_accounts(found_tunnels: Iterable[FoundTunnel], jumphost: HostPort) -> list[InheritedKey]:
    """Return the keys that the lines of each account trust; a home folder stands for an account.

    Of several files that have a key, it is from one that no other account may change, if there is one.
    """
    by_account: dict[str | None, set[bytes]] = {}
    keys: dict[bytes, InheritedKey] = {}
    for found in found_tunnels:
        trusted = by_account.setdefault(found.home, set())
        for key in _trusted_keys(found, jumphost):
            trusted.add(key.blob)
            if not key.account or key.blob not in keys:
                keys[key.blob] = key
    return [key for blob, key in keys.items() if all(blob in trusted for trusted in by_account.values())]


def _trusted_keys(found: FoundTunnel, jumphost: HostPort) -> Iterable[InheritedKey]:
    """Return the jumphost's keys in the known_hosts files that the line's ssh reads; none if one is not readable.

    A key that one of them revokes is none of another's.
    """
    if found.tunnel.known_hosts:
        files = [Path(found.tunnel.known_hosts)]
    else:
        files = [Path(found.home, name) for name in DEFAULT_KNOWN_HOSTS] if found.home else []
    try:
        pins = {file: known_hosts.load(file) for file in files}
    except ConfigInvalid:  # another user's, or a folder
        return ()
    host, port = jumphost.host, jumphost.port
    usable = Pins(tuple(entry for each in pins.values() for entry in each.entries)).blobs_for(host, port)
    return [
        InheritedKey(blob, file, account)
        for file, account in ((file, _other_account(file)) for file in files)
        for blob in pins[file].blobs_for(host, port)
        if blob in usable
    ]


def _other_account(file: Path) -> str:
    """Return the account that may change the file, if it is another one than ours and root's; else "".

    Root looks at the folders on its path, too. For others only the file's owner counts: ssh judges the rest for them.
    """
    own = os.geteuid()
    if own == 0:
        custody = custody_of(file)
        return "" if custody is None else account_name(max(custody.uids))
    try:
        owner = file.stat().st_uid
    except OSError:
        return ""
    return "" if owner in (own, 0) else account_name(owner)
