"""Selects the identity that a tunnel authenticates with, and loads its private key, again for every session."""

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
    """Return the path of the tunnel's own identity, else of the agent's, else the default path of `keygen`.

    A systemd credential (LoadCredential=ssh-key, for a tunnel's own identity ssh-key.NAME) takes precedence: the
    service's account cannot read the original file.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder:
        credential = Path(folder, f"{CREDENTIAL}.{tunnel.name}" if tunnel.identity else CREDENTIAL)
        if os.path.lexists(credential):
            return credential
    return tunnel.identity or settings.identity or paths.identity


def load_identity(tunnel: Tunnel, settings: AgentSettings, paths: Paths) -> bytes:
    """Return the unencrypted private key in OpenSSH's format.

    Raises IdentityMissing, IdentityUnreadable.
    """
    path = identity_path(tunnel, settings, paths)
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    credential = folder is not None and Path(folder) in path.parents
    return identity.load(path, credential=credential)
