"""Reads the agent's log file: its last lines, and the lines that are appended later."""

from __future__ import annotations

import itertools
import os
import time
from collections import deque
from typing import TYPE_CHECKING, BinaryIO

from ioconnect.custody.descriptors import open_regular
from ioconnect.custody.entries import Untrusted
from ioconnect.errors import SystemRefused
from ioconnect.escape import escaped
from ioconnect.status.log_filter import LineFilter, LogFilter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_LINE = 10_000  # characters shown
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
    for number in itertools.count(1):
        rotated = _opened(path.with_name(f"{path.name}.{number}")) if len(found) < count else None
        if rotated is None:
            return found
        with rotated:
            found = _wanted_lines(rotated, count - len(found), wanted) + found
    raise AssertionError


def _wanted_lines(file: BinaryIO, count: int, wanted: LogFilter) -> list[str]:
    return list(deque(filter(LineFilter(wanted).takes, _complete_lines(file)), maxlen=count))


def _complete_lines(file: BinaryIO) -> Iterator[str]:
    """Yield the complete lines from the current position on; the position stays before an incomplete one."""
    while True:
        start = file.tell()
        line = file.readline()
        if not line.endswith(b"\n"):
            file.seek(start)
            return
        yield escaped(line[:-1], limit=MAX_LINE)


def _opened(path: Path) -> BinaryIO | None:
    try:
        descriptor, _ = open_regular(path)
    except FileNotFoundError:
        return None
    except (OSError, Untrusted) as error:
        raise SystemRefused(f"cannot read the log {path}: {error.strerror}", hint="Is it another user's?") from error
    return os.fdopen(descriptor, "rb")


def _was_replaced(file: BinaryIO, path: Path) -> bool:
    try:
        return not os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False  # between the rotation's rename and the creation of the new file
