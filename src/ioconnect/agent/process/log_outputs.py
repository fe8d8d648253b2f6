"""Where the log is written: standard error, or a file that is rotated. Belongs to the log's writer thread."""

from __future__ import annotations

import contextlib
import os
import select
import stat
from typing import TYPE_CHECKING

from ioconnect.custody.descriptors import open_log
from ioconnect.custody.entries import Untrusted
from ioconnect.custody.files import make_folder, rename
from ioconnect.errors import CannotCreate
from ioconnect.status.log_reader import BACKUP_COUNT, MAX_FILE_SIZE

if TYPE_CHECKING:
    from pathlib import Path

TYPES = (stat.S_IFREG, stat.S_IFIFO, stat.S_IFCHR)  # a pipe to a program that takes lines; /dev/null
STDERR = 2


class StderrOutput:
    """Standard error, by its descriptor.

    Not by `sys.stderr`: a thread that hangs in one of Python's own streams keeps its lock, and the interpreter could
    not exit.
    """

    def write(self, line: bytes) -> None:
        """Write the line; wait for the reader, also if others made the descriptor non-blocking. Raises OSError."""
        _write_all(STDERR, line)

    def close(self) -> None:
        """Leave the descriptor open: it is not ours."""


class FileOutput:
    """A rotated file with mode 0600."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises CannotCreate."""
        self._path = path
        self._descriptor = -1
        self._size = 0
        make_folder(path.parent)
        try:
            self._open()
        except Untrusted as error:
            raise CannotCreate(f"cannot write the log {path}: {error.strerror}", hint=error.hint) from error
        except OSError as error:
            raise CannotCreate(
                f"cannot write the log {path}: {error.strerror}",
                hint="Check the folder's permissions and the free space on its disk.",
            ) from error

    def write(self, line: bytes) -> None:
        """Write the line, after rotating the file if it is full. Raises OSError, Untrusted."""
        if self._size + len(line) > MAX_FILE_SIZE:
            self._rotate()
        if self._descriptor < 0:  # an earlier rotation failed half-way, for example on a full disk
            self._open()
        try:
            _write_all(self._descriptor, line)
        except OSError:  # whatever part of the line was written must not become the start of the next
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(line)

    def close(self) -> None:
        """Close the file."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _open(self) -> None:
        self._descriptor = open_log(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, types=TYPES)
        self._size = os.fstat(self._descriptor).st_size

    def _rotate(self) -> None:
        self.close()
        for number in range(BACKUP_COUNT - 1, -1, -1):
            with contextlib.suppress(FileNotFoundError):
                rename(self._backup(number), self._backup(number + 1).name)
        self._open()

    def _backup(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path


def _write_all(descriptor: int, line: bytes) -> None:
    rest = memoryview(line)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # noqa: PERF203  a system call costs more
            poller = select.poll()
            poller.register(descriptor, select.POLLOUT)
            poller.poll()
