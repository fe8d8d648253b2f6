"""Writing files so that a crash, a full disk or a second reader never sees half of one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import TYPE_CHECKING

from ioconnect.errors import CannotCreate

if TYPE_CHECKING:
    from pathlib import Path


def make_folder(path: Path, *, mode: int = 0o700) -> None:
    """Make the folder and its parents; a new one gets `mode` at once. Raises CannotCreate."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=mode, exist_ok=True)
    except OSError as error:
        raise CannotCreate(
            f"cannot make the folder {path}: {error.strerror}",
            hint="Make it yourself, or set IOCONNECT_HOME to a folder you may write in.",
        ) from error


def write_replacing(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace the file's content in one step, on disk when this returns; `mode` holds from the first byte.

    The old content stays if anything fails. Raises CannotCreate.
    """
    temporary: str | None = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with open(descriptor, "wb") as file:  # noqa: PTH123  mkstemp hands out a descriptor
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)  # noqa: PTH105  temporary is a string from mkstemp
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108
        raise CannotCreate(
            f"cannot write {path}: {error.strerror}",
            hint="Check the folder's permissions and the free space on its disk.",
        ) from error
