"""What a tunnel signs in with: selects and loads its identity, again for every session, and requires a pin."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.config.paths import CREDENTIAL, is_handed_over
from ioconnect.custody import strict_modes
from ioconnect.custody.files import Stamps, stamp
from ioconnect.errors import HostKeyUnpinned, IdentityMissing, IdentityUnreadable
from ioconnect.keys import identity, known_hosts

if TYPE_CHECKING:
    from ioconnect.config.configuration import AgentSettings, Tunnel
    from ioconnect.config.paths import Paths
    from ioconnect.keys.known_hosts import Pins

HAND_OVER = "sudo systemctl restart ioconnect, at which systemd hands it over."


@dataclass(slots=True)
class ReadFiles:
    """What a session read before it dialed; written by its dialing thread, empty before that.

    `stamps` are of the identity and the pins, taken before they were read; `pinned` has the fingerprints of the host
    keys that are pinned for the jumphost.
    """

    stamps: Stamps = field(default_factory=dict)
    pinned: tuple[str, ...] = ()


def identity_path(tunnel: Tunnel, settings: AgentSettings, paths: Paths) -> Path:
    """Return the path of the tunnel's own identity, else of the agent's, else the default path of `keygen`.

    A systemd credential (LoadCredential=ssh-key, for a tunnel's own identity ssh-key.NAME) takes precedence: the
    service's account cannot read the original file.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder:
        credential = Path(folder, f"{CREDENTIAL}.{tunnel.name}" if tunnel.identity else CREDENTIAL)
        if is_handed_over(credential):
            return credential
    return tunnel.identity or settings.identity or paths.identity


def are_copies() -> bool:
    """Whether systemd handed identities over when the service started: they stay as they are until its restart."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return bool(folder) and any(Path(folder or "").glob(f"{CREDENTIAL}*"))


def is_copy(path: Path) -> bool:
    """Whether this identity is one that systemd handed over."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return folder is not None and Path(folder) in path.parents


def load_identity(tunnel: Tunnel, settings: AgentSettings, paths: Paths) -> bytes:
    """Return the unencrypted private key in OpenSSH's format.

    Raises IdentityMissing, IdentityUnreadable.
    """
    path = identity_path(tunnel, settings, paths)
    if is_copy(path):
        return identity.load(path, credential=True)
    try:
        return identity.load(path, own=path == paths.identity)
    except IdentityMissing as fault:
        if are_copies():
            fault.hint = f"{fault.hint} If the service's account cannot read it then: {HAND_OVER}"
        raise
    except IdentityUnreadable as fault:
        if are_copies():  # of an account that cannot read the original, which came after the start
            fault.hint = f"If it came after the service's start: {HAND_OVER} Else: {fault.hint}"
        raise


def stamps(tunnel: Tunnel, settings: AgentSettings, paths: Paths) -> Stamps:
    """Return the stamps of the files that a session of this tunnel reads; taken before they are read."""
    return {path: stamp(path) for path in (identity_path(tunnel, settings, paths), paths.known_hosts)}


def load_pins(paths: Paths, *, account: int | None = None) -> Pins:
    """Return the pins. Raises ConfigInvalid if they cannot be read, or if root would trust what others may change.

    `account` is as for `strict_modes.trusted`, by default that of the paths.
    """
    account = paths.account if account is None else account
    return known_hosts.load(paths.known_hosts, trusted=strict_modes.trusted(account))


def require_pin(tunnel: Tunnel, pins: Pins) -> None:
    """Raise HostKeyUnpinned if no host key is pinned for the tunnel's jumphost."""
    if not pins.types_for(tunnel.jumphost.host, tunnel.jumphost.port):
        left_out = f" (of known_hosts, {'; '.join(pins.warnings[:3])})" if pins.warnings else ""
        raise HostKeyUnpinned(
            f"{tunnel.name}: no host key is pinned for the jumphost {tunnel.jumphost}",
            hint=f"Run: ioconnect pin {tunnel.name}{left_out}",
        )
