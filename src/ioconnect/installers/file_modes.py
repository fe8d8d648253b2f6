"""Makes the configuration and the pins, which hold no secrets, readable for the service's account.

By descriptors: an account that may write in the folder could put a link to another file in the place of one of these.
"""

from __future__ import annotations

import contextlib
import os
from functools import partial
from typing import TYPE_CHECKING

from ioconnect.custody.descriptors import open_to_change
from ioconnect.custody.entries import Untrusted, entry
from ioconnect.custody.files import hint_of, remove, write_new
from ioconnect.errors import SystemRefused
from ioconnect.installers.machine import opening, unreadable_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from ioconnect.installers.machine import Account

FILE_MODE = 0o044
FOLDER_MODE = 0o011  # search permission, no read permission


@contextlib.contextmanager
def make_readable(paths: Iterable[Path], reader: Account | None) -> Iterator[list[str]]:
    """Make the files and their folders accessible to all accounts; yield a message for each mode that changed.

    A missing file is created, empty, where only root can make one; a later write preserves its mode. If the block
    under `with` raises, all changes are undone. Raises SystemRefused for folders further up, which are not changed,
    and for a file that another account may have put there.
    """
    undo: list[Callable[[], object]] = []
    output: list[str] = []
    with contextlib.ExitStack() as closing:
        try:
            for path in paths:
                _open(path, reader, undo, output, closing)
            yield output
        except BaseException:
            for step in reversed(undo):
                with contextlib.suppress(OSError, Untrusted):
                    step()
            raise


def _open(
    path: Path,
    reader: Account | None,
    undo: list[Callable[[], object]],
    output: list[str],
    closing: contextlib.ExitStack,
) -> None:
    if not path.exists() and not _is_in_custody(path) and write_new(path, b""):
        undo.append(partial(remove, path))
    for part, bits in ((path.parent, FOLDER_MODE), (path, FILE_MODE)):
        if unreadable_for(path, reader) != part.resolve():
            continue
        try:
            descriptor = open_to_change(part)
        except (OSError, Untrusted) as error:
            raise SystemRefused(
                f"{part} cannot be made readable for the service's account: {error.strerror}",
                hint=hint_of(error, "Then install again."),
            ) from error
        closing.callback(os.close, descriptor)
        mode = os.fstat(descriptor).st_mode & 0o7777
        os.fchmod(descriptor, mode | bits)
        undo.append(partial(os.fchmod, descriptor, mode))
        output.append(f"{part} is open to the accounts of this machine now (it was {mode:04o}); it holds no secret.")
    closed = unreadable_for(path, reader)
    if closed is not None:
        mending = "" if _is_in_custody(path) else opening(closed, "o+x")
        raise SystemRefused(
            f"the service's account may not enter {closed}, and {path} is in it",
            hint=f"To mend it: {mending}move the configuration to /etc/ioconnect.",
        )


def _is_in_custody(path: Path) -> bool:
    """Whether another account than root may replace this file: then it is that account's to make."""
    try:
        with entry(path, follow=True) as found:
            return found.custody is not None
    except Untrusted:
        return True
