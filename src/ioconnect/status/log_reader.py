"""The daemon's log, its last lines and what is added to it."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections import deque
from typing import TYPE_CHECKING, BinaryIO

from ioconnect.errors import SystemRefused
from ioconnect.escape import escaped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONGEST_LINE = 10_000  # characters shown
LOOK_AGAIN = 0.25  # seconds; a file has no portable way to tell that it has grown


def is_there(path: Path) -> bool:
    """Whether there is a log, be it one that cannot be read."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def absence(path: Path) -> str:
    """Return what there is to say about a log that is not there."""
    from ioconnect.installers.service_manager import machines_log  # noqa: PLC0415  rarely needed

    return f"There is no log yet at {path}.{machines_log()}"


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last `count` lines of the log, also from the file that was rotated away last; none if none is there.

    Control characters are escaped. Raises SystemRefused.
    """
    file = _opened(path)
    if file is None:
        return []
    with file:
        return _last_lines(path, file, count)


def follow(path: Path, count: int) -> Iterator[str]:
    """Yield the last `count` lines and then every new one, for ever; goes on in the new file when it is rotated.

    Waits for a log that is not there yet. Raises SystemRefused.
    """
    file = _opened(path)
    try:
        if file is not None:
            yield from _last_lines(path, file, count)
        while True:
            if file is not None:
                yield from _complete_lines(file)
                if _was_replaced(file, path):
                    yield from _complete_lines(file)  # written between the last look and the rotation
                    file.close()
                    file = None
            file = file or _opened(path)
            time.sleep(LOOK_AGAIN)
    finally:
        if file is not None:
            file.close()


def _last_lines(path: Path, file: BinaryIO, count: int) -> list[str]:
    rotated = _opened(path.with_name(path.name + ".1"))
    with rotated or contextlib.nullcontext():
        earlier = _complete_lines(rotated) if rotated is not None else iter(())
        return list(deque(itertools.chain(earlier, _complete_lines(file)), maxlen=count))


def _complete_lines(file: BinaryIO) -> Iterator[str]:
    """Yield the lines that are there; one whose end is still to come waits for it."""
    while True:
        start = file.tell()
        line = file.readline()
        if not line.endswith(b"\n"):
            file.seek(start)
            return
        yield escaped(line[:-1], limit=LONGEST_LINE)


def _opened(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SystemRefused(f"cannot read the log {path}: {error.strerror}", hint="Is it another user's?") from error


def _was_replaced(file: BinaryIO, path: Path) -> bool:
    try:
        return not os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False  # between rename and creation: the new one comes soon
