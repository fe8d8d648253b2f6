"""Which tunnels a person wants reconnected: a signal carries no names, so a file beside it does."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from ioconnect.config.files import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from ioconnect.config.paths import Paths

LARGEST = 65536  # bytes


def _file(paths: Paths) -> Path:
    return paths.state / "reconnect.json"


def leave(paths: Paths, name: str) -> None:
    """Leave the wish for SIGUSR1, which must follow. Raises CannotCreate."""
    write_atomically(_file(paths), json.dumps([name]).encode())


def clear(paths: Paths) -> None:
    """Drop a wish that was left for an agent that is gone."""
    with contextlib.suppress(OSError):
        _file(paths).unlink()


def take(paths: Paths) -> tuple[str, ...]:
    """Return the names that were left, each wish once; none means all."""
    names: object = None
    with contextlib.suppress(OSError, ValueError, RecursionError), _file(paths).open("rb") as file:
        names = json.loads(file.read(LARGEST))
    clear(paths)
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()
