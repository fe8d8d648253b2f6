"""What an interrupted `setup` keeps of a tunnel that is not whole yet: the endpoint, before there is a database."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from ioconnect.files import make_folder, read_regular, write_replacing

if TYPE_CHECKING:
    from ioconnect.paths import Paths

SCHEMA = 1
LARGEST = 8 << 20  # bytes; what can be pasted, and then some


def keep(paths: Paths, name: str, pasted: str) -> None:
    """Keep what was pasted for this tunnel (0600), in the place of an older draft. Raises CannotCreate."""
    make_folder(paths.state)
    content = json.dumps({"schema": SCHEMA, "name": name, "pasted": pasted}).encode()
    write_replacing(paths.setup_draft, content + b"\n")


def kept(paths: Paths, name: str) -> str | None:
    """Return what was pasted for this tunnel; None if nothing was, or if it cannot be read any more."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        draft = json.loads(read_regular(paths.setup_draft, limit=LARGEST)[0])
        if isinstance(draft, dict) and (draft.get("schema"), draft.get("name")) == (SCHEMA, name):
            pasted = draft.get("pasted")
            return pasted if isinstance(pasted, str) else None
    return None


def forget(paths: Paths) -> None:
    """Remove the draft: the tunnel is saved."""
    with contextlib.suppress(OSError):
        paths.setup_draft.unlink()
