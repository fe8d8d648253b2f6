"""The source port of every connected tunnel, stored on disk.

After a power cut the agent dials from it and so resets its own dead session, which holds the tunnel's port on the
jumphost (see `tunnel.machine`). A file that is missing, damaged or cannot be written only costs that shortcut.
"""

from __future__ import annotations

import contextlib
import json
import logging
from functools import partial
from typing import TYPE_CHECKING

from ioconnect.agent.dial.happy_eyeballs import SourcePort
from ioconnect.agent.supervisor.background_jobs import do_at_once
from ioconnect.custody.entries import Untrusted
from ioconnect.custody.files import read_regular, write_atomically
from ioconnect.errors import CannotCreate

if TYPE_CHECKING:
    from pathlib import Path

    from ioconnect.agent.supervisor.background_jobs import Put
    from ioconnect.config.configuration import Tunnel

log = logging.getLogger(__name__)

MAX_SIZE = 1 << 20  # bytes
_MAX_PORT = 65535


class SourcePorts:
    """The stored source ports; belongs to the supervisor's thread. `put` has the file written, with fsync(2)."""

    def __init__(self, path: Path, put: Put = do_at_once) -> None:
        self._path = path
        self._put = put
        self._write_failed = False
        self._stored = _read(path)

    def get(self, tunnel: Tunnel) -> SourcePort | None:
        """Return the source port of the tunnel's last session, if that was not closed cleanly."""
        return self._stored.get(_key(tunnel))

    def store(self, tunnel: Tunnel, source: SourcePort) -> None:
        """Store the source port of a session that holds the tunnel's port."""
        if self.get(tunnel) != source:
            self._stored[_key(tunnel)] = source
            self._changed()

    def remove(self, tunnel: Tunnel) -> None:
        """Remove the stored source port, as the jumphost knows that the session ended."""
        if self._stored.pop(_key(tunnel), None) is not None:
            self._changed()

    def _changed(self) -> None:
        document = {key: [source.address, source.port, source.peer] for key, source in self._stored.items()}
        self._put("source ports", partial(self._write_file, document))

    def _write_file(self, document: dict[str, list[str | int | None]]) -> None:
        """Write the file, on the thread of `put`."""
        try:
            write_atomically(self._path, json.dumps(document).encode() + b"\n")
            self._write_failed = False
        except CannotCreate as fault:
            if not self._write_failed:
                log.warning("%s; after a power cut the port may stay in use for a while", fault.message)
            self._write_failed = True


def _key(tunnel: Tunnel) -> str:
    """Return the key of a tunnel's entry: jumphost and ports, not the name, which may change."""
    return f"{tunnel.endpoint} {tunnel.ssh_port}"


def _read(path: Path) -> dict[str, SourcePort]:
    document: object = None
    with contextlib.suppress(OSError, Untrusted, ValueError, RecursionError):
        document = json.loads(read_regular(path, limit=MAX_SIZE)[0])
    if not isinstance(document, dict):
        return {}
    return {key: SourcePort(*value) for key, value in document.items() if _is_source_port(value)}


def _is_source_port(value: object) -> bool:
    match value:
        case [str(), int(port), str() | None]:
            return 0 < port <= _MAX_PORT
    return False
