"""The draft of a tunnel, in a file: an interrupted `setup` resumes from it."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from ioconnect.commands.setup.answers import Draft
from ioconnect.config.json_fields import Fields
from ioconnect.custody.entries import Untrusted
from ioconnect.custody.files import make_folder, read_regular, write_atomically
from ioconnect.custody.files import remove as remove_file

if TYPE_CHECKING:
    from ioconnect.config.paths import Paths

SCHEMA = 1
MAX_FILE = 8 << 20  # bytes; more than the longest paste


def save(paths: Paths, name: str, draft: Draft) -> None:
    """Write the draft of this tunnel (0600), in the place of an older one. Raises CannotCreate."""
    make_folder(paths.state)
    content = json.dumps({"schema": SCHEMA, "name": name, **asdict(draft)}).encode()
    write_atomically(paths.setup_draft, content + b"\n")


def load(paths: Paths, name: str) -> Draft | None:
    """Return the draft of this tunnel; None if there is none, or none that can be read."""
    with contextlib.suppress(OSError, Untrusted, ValueError, RecursionError):
        fields = Fields(json.loads(read_regular(paths.setup_draft, limit=MAX_FILE)[0]))
        if (fields.required("schema", int), fields.required("name", str)) == (SCHEMA, name):
            return Draft(
                endpoint=fields.optional("endpoint", str),
                paste=fields.optional("paste", str),
                ssh_port=fields.optional("ssh_port", int),
                ssh_user=fields.optional("ssh_user", str),
                proxy=fields.optional("proxy", str),
            )
    return None


def remove(paths: Paths) -> None:
    """Remove the draft, if there is one."""
    with contextlib.suppress(OSError, Untrusted):
        remove_file(paths.setup_draft)
