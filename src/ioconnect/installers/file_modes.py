"""Lets the service's account read what holds no secret: the configuration and the pins."""

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
FOLDER_MODE = 0o011  # to be passed through, not to be listed


@contextlib.contextmanager
def make_readable(paths: Iterable[Path], reader: Account | None) -> Iterator[list[str]]:
    """Open the files, and the folder that each is in, to everybody; yield a line about each that was closed.

    A file that is not there is made, empty: whoever fills it keeps its mode. If the block under `with` raises, all
    of it is undone. Raises SystemRefused for what is closed further up: those folders are not ours to open.
    """
    undo: list[Callable[[], object]] = []
    said: list[str] = []
    try:
        for path in paths:
            _open(path, reader, undo, said)
        yield said
    except BaseException:
        for step in reversed(undo):
            with contextlib.suppress(OSError):
                step()
        raise


def _open(path: Path, reader: Account | None, undo: list[Callable[[], object]], said: list[str]) -> None:
    if not path.exists() and write_new(path, b""):
        undo.append(path.unlink)
    for part, bits in ((path.parent, FOLDER_MODE), (path, FILE_MODE)):
        if unreadable_for(path, reader) != part.resolve():
            continue
        mode = part.stat().st_mode & 0o7777
        os.chmod(part, mode | bits)  # noqa: PTH101  the same call as its undoing
        undo.append(lambda part=part, mode=mode: os.chmod(part, mode))  # type: ignore[misc]  # noqa: PTH101
        said.append(f"{part} is open to the accounts of this machine now (it was {mode:04o}); it holds no secret.")
    closed = unreadable_for(path, reader)
    if closed is not None:
        raise SystemRefused(
            f"the service's account may not enter {closed}, and {path} is in it",
            hint=f"Open the folder (chmod o+x {closed}), or move the configuration to /etc/ioconnect.",
        )
