"""Makes the configuration and the pins, which hold no secrets, readable for the service's account."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from ioconnect.config.files import write_new
from ioconnect.errors import SystemRefused
from ioconnect.installers.machine import unreadable_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from ioconnect.installers.machine import Account

FILE_MODE = 0o044
FOLDER_MODE = 0o011  # search permission, no read permission


@contextlib.contextmanager
def make_readable(paths: Iterable[Path], reader: Account | None) -> Iterator[list[str]]:
    """Make the files and their folders accessible to all accounts; yield a message for each mode that changed.

    A missing file is created, empty; a later write preserves its mode. If the block under `with` raises, all changes
    are undone. Raises SystemRefused for folders further up, which are not changed.
    """
    undo: list[Callable[[], object]] = []
    output: list[str] = []
    try:
        for path in paths:
            _open(path, reader, undo, output)
        yield output
    except BaseException:
        for step in reversed(undo):
            with contextlib.suppress(OSError):
                step()
        raise


def _open(path: Path, reader: Account | None, undo: list[Callable[[], object]], output: list[str]) -> None:
    if not path.exists() and write_new(path, b""):
        undo.append(path.unlink)
    for part, bits in ((path.parent, FOLDER_MODE), (path, FILE_MODE)):
        if unreadable_for(path, reader) != part.resolve():
            continue
        mode = part.stat().st_mode & 0o7777
        os.chmod(part, mode | bits)  # noqa: PTH101  the same call as its undoing
        undo.append(lambda part=part, mode=mode: os.chmod(part, mode))  # type: ignore[misc]  # noqa: PTH101
        output.append(f"{part} is open to the accounts of this machine now (it was {mode:04o}); it holds no secret.")
    closed = unreadable_for(path, reader)
    if closed is not None:
        raise SystemRefused(
            f"the service's account may not enter {closed}, and {path} is in it",
            hint=f"Open the folder (chmod o+x {closed}), or move the configuration to /etc/ioconnect.",
        )
