"""Which identity a tunnel signs in with, and its private key, read afresh for every session."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.config.paths import CREDENTIAL
from ioconnect.keys import identity

if TYPE_CHECKING:
    from ioconnect.config.configuration import AgentSettings, Tunnel
    from ioconnect.config.paths import Paths


def identity_path(tunnel: Tunnel, settings: AgentSettings, paths: Paths) -> Path:
    """Return the tunnel's own identity, else the agent's, else where `keygen` puts it.

    What systemd was told to hand over in its place (LoadCredential=ssh-key, for a tunnel's own ssh-key.NAME) comes
    first: the file itself is not for the service's account to read.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder:
        handed_over = Path(folder, f"{CREDENTIAL}.{tunnel.name}" if tunnel.identity else CREDENTIAL)
        if os.path.lexists(handed_over):
            return handed_over
    return tunnel.identity or settings.identity or paths.identity


def load_identity(tunnel: Tunnel, settings: AgentSettings, paths: Paths) -> bytes:
    """Return the private key, unencrypted, in OpenSSH's format.

    Raises IdentityMissing, IdentityUnreadable.
    """
    path = identity_path(tunnel, settings, paths)
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    credential = folder is not None and Path(folder) in path.parents
    return identity.load(path, credential=credential)
