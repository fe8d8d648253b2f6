"""What to do about a path that another account may change, as half a sentence; nothing is taken from anybody."""

from __future__ import annotations

import os
import shlex
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def remedy(command: str, facts: os.stat_result, path: Path) -> str:
    """Return the command for this path; of a folder only if it is for ioconnect alone."""
    written = f"{command} {shlex.quote(str(path))}"
    return (
        f"{written} if that folder is for ioconnect alone, else {move()}" if stat.S_ISDIR(facts.st_mode) else written
    )


def move() -> str:
    """Return what to do where no mode or owner may be changed."""
    return f"move it into folders that only {'root' if os.geteuid() == 0 else 'you and root'} may change"
