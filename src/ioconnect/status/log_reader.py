"""Reads the agent's log file: its last lines, and the lines that are appended later.

Another account may have written it: what is read at a time, and of how many files, has limits.
"""

from __future__ import annotations

import os
import time
from collections import deque
from typing import TYPE_CHECKING, BinaryIO

from ioconnect.custody.descriptors import open_regular
from ioconnect.custody.entries import Untrusted
from ioconnect.custody.files import hint_of
from ioconnect.errors import SystemRefused
from ioconnect.escape import escaped
from ioconnect.status.log_filter import LineFilter, LogFilter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_FILE_SIZE = 5_000_000  # bytes; then the agent rotates it. Of a larger file the last ones are read
BACKUP_COUNT = 5  # rotated files, `.1` the newest
MAX_LINE = 10_000  # characters shown
_MAX_LINE_BYTES = 4 * MAX_LINE  # the agent's own lines are shorter; a longer one is read in pieces
EVERYTHING = LogFilter()
POLL_INTERVAL = 0.25  # seconds; no portable call waits for a file to grow


def exists(path: Path) -> bool:
    """Whether there is a log, also one that may not be read."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def last_lines(path: Path, count: int, wanted: LogFilter = EVERYTHING) -> list[str]:
    """Return the last `count` wanted lines of the log, also those in rotated files; none without a log.

    Control characters are escaped. Raises SystemRefused.
    """
    file = _opened(path)
    if file is None:
        return []
    with file:
        return _last_lines(path, file, count, wanted)


def follow(path: Path, count: int, wanted: LogFilter = EVERYTHING) -> Iterator[str]:
    """Yield the last `count` wanted lines and then every new one, without an end; follows the log when it is rotated.

    Waits for a log that is not there yet. Raises SystemRefused.
    """
    file, line_filter = _opened(path), LineFilter(wanted)
    try:
        if file is not None:
            yield from _last_lines(path, file, count, wanted)
        while True:
            if file is not None:
                yield from filter(line_filter.takes, _complete_lines(file))
                if _was_replaced(file, path):  # what was written between the last look and the rotation
                    yield from filter(line_filter.takes, _complete_lines(file))
                    file.close()
                    file = None
            file = file or _opened(path)
            time.sleep(POLL_INTERVAL)
    finally:
        if file is not None:
            file.close()


def _last_lines(path: Path, file: BinaryIO, count: int, wanted: LogFilter) -> list[str]:
    """Return the last wanted lines of the file and, while they are too few, of the rotated ones."""
    found = _wanted_lines(file, count, wanted)
    for number in range(1, BACKUP_COUNT + 1):
        rotated = _opened(path.with_name(f"{path.name}.{number}")) if len(found) < count else None
        if rotated is None:
            break
        with rotated:
            found = _wanted_lines(rotated, count - len(found), wanted) + found
    return found


def _wanted_lines(file: BinaryIO, count: int, wanted: LogFilter) -> list[str]:
    return list(deque(filter(LineFilter(wanted).takes, _complete_lines(file)), maxlen=count))


def _complete_lines(file: BinaryIO) -> Iterator[str]:
    """Yield the complete lines from the current position on, but for what is too far from the end.

    The position stays before an incomplete line.
    """
    farthest = os.fstat(file.fileno()).st_size - MAX_FILE_SIZE
    if farthest > file.tell():
        file.seek(farthest)
        file.readline(_MAX_LINE_BYTES)  # the rest of a line
    while True:
        start = file.tell()
        line = file.readline(_MAX_LINE_BYTES)
        if not line.endswith(b"\n") and len(line) < _MAX_LINE_BYTES:
            file.seek(start)
            return
        yield escaped(line.removesuffix(b"\n"), limit=MAX_LINE)


def _opened(path: Path) -> BinaryIO | None:
    try:
        descriptor, _ = open_regular(path)
    except FileNotFoundError:
        return None
    except (OSError, Untrusted) as error:
        raise SystemRefused(
            f"cannot read the log {path}: {error.strerror}", hint=hint_of(error, "Is it another user's?")
        ) from error
    return os.fdopen(descriptor, "rb")


def _was_replaced(file: BinaryIO, path: Path) -> bool:
    try:
        return not os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False  # between the rotation's rename and the creation of the new file
