"""The names of the tunnels to reconnect, in a file, because the signal SIGUSR1 carries none."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from ioconnect.config.files import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from ioconnect.config.paths import Paths

MAX_SIZE = 65536  # bytes


def _file(paths: Paths) -> Path:
    return paths.state / "reconnect.json"


def write(paths: Paths, name: str) -> None:
    """Write the request; SIGUSR1 must follow. Raises CannotCreate."""
    write_atomically(_file(paths), json.dumps([name]).encode())


def remove(paths: Paths) -> None:
    """Remove a request that an earlier agent did not read."""
    with contextlib.suppress(OSError):
        _file(paths).unlink()


def read(paths: Paths) -> tuple[str, ...]:
    """Read and remove the request, and return the names in it; none means all tunnels."""
    names: object = None
    with contextlib.suppress(OSError, ValueError, RecursionError), _file(paths).open("rb") as file:
        names = json.loads(file.read(MAX_SIZE))
    remove(paths)
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()
