"""The source port of every connected tunnel, on disk: after a power cut the agent frees its own port (rule 11).

Only a help: a file that is missing, damaged or cannot be written costs nothing but the quick way back.
"""

from __future__ import annotations

import contextlib
import json
import logging
from typing import TYPE_CHECKING

from ioconnect.agent.dial.happy_eyeballs import SourcePort
from ioconnect.config.files import write_atomically
from ioconnect.errors import CannotCreate

if TYPE_CHECKING:
    from pathlib import Path

    from ioconnect.config.configuration import Tunnel

log = logging.getLogger(__name__)

LARGEST = 1 << 20  # bytes
_HIGHEST_PORT = 65535


class SourcePorts:
    """What the file says; one thread, the supervisor's."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._complained = False
        self._known = _read(path)

    def get(self, tunnel: Tunnel) -> SourcePort | None:
        """Return our end of the tunnel's last connection, if that was not closed properly."""
        return self._known.get(_key(tunnel))

    def remember(self, tunnel: Tunnel, source: SourcePort) -> None:
        """Keep our end of the tunnel's connection: it holds the port now."""
        if self.get(tunnel) != source:
            self._known[_key(tunnel)] = source
            self._write()

    def forget(self, tunnel: Tunnel) -> None:
        """Drop the memory: the jumphost knows that the connection is over."""
        if self._known.pop(_key(tunnel), None) is not None:
            self._write()

    def _write(self) -> None:
        document = {key: [source.address, source.port, source.peer] for key, source in self._known.items()}
        try:
            write_atomically(self._path, json.dumps(document).encode() + b"\n")
            self._complained = False
        except CannotCreate as fault:
            if not self._complained:
                log.warning("%s; a power cut now would cost the quick way back", fault.message)
            self._complained = True


def _key(tunnel: Tunnel) -> str:
    """Return what the memory belongs to: a renamed tunnel keeps it, one with another jumphost or port does not."""
    return f"{tunnel.endpoint} {tunnel.ssh_port}"


def _read(path: Path) -> dict[str, SourcePort]:
    document: object = None
    with contextlib.suppress(OSError, ValueError, RecursionError), path.open("rb") as file:
        document = json.loads(file.read(LARGEST))
    if not isinstance(document, dict):
        return {}
    return {key: SourcePort(*value) for key, value in document.items() if _is_source(value)}


def _is_source(value: object) -> bool:
    match value:
        case [str(), int(port), str() | None]:
            return 0 < port <= _HIGHEST_PORT
    return False
