"""Configures logging: handlers and formatters.

The daemon logs to a file (rotated, mode 0600), otherwise the log goes to standard error; if that is the journal, with
priorities instead of timestamps. All messages are escaped, so a jumphost cannot inject lines.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from logging.handlers import RotatingFileHandler
from typing import TYPE_CHECKING, Any

from ioconnect.config.files import make_folder
from ioconnect.errors import CannotCreate
from ioconnect.escape import escaped

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAX_FILE_SIZE = 5_000_000  # bytes
BACKUP_COUNT = 5
MAX_LINE = 4000  # characters
_LOGGERS = ("ioconnect", "paramiko")


class LogSetup:
    """The configured log; `close` restores the loggers, so that a test can configure it again."""

    def __init__(self, *, file: Path | None, verbose: int, environ: Mapping[str, str]) -> None:
        """Log to the file, or to standard error without one. Raises CannotCreate."""
        handler = _file_handler(file) if file else _stderr_handler(environ)
        handler.addFilter(_paramiko_filter)
        level = logging.DEBUG if verbose > 0 else logging.WARNING if verbose < 0 else logging.INFO
        handler.setLevel(level)
        self._handler = handler
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            logger.setLevel(level)
            logger.propagate = False
            logger.addHandler(handler)

    def close(self) -> None:
        """Stop logging and close the file."""
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            logger.removeHandler(self._handler)
            logger.propagate = True
            logger.setLevel(logging.NOTSET)
        self._handler.close()


def _file_handler(path: Path) -> logging.Handler:
    make_folder(path.parent)
    try:
        handler = _PrivateFileHandler(path, maxBytes=MAX_FILE_SIZE, backupCount=BACKUP_COUNT, encoding="utf-8")
    except OSError as error:
        raise CannotCreate(
            f"cannot write the log {path}: {error.strerror}",
            hint="Check the folder's permissions and the free space on its disk.",
        ) from error
    handler.setFormatter(_LineFormatter("%(asctime)s %(levelname)s %(message)s"))
    return handler


def _stderr_handler(environ: Mapping[str, str]) -> logging.Handler:
    handler = _StderrHandler(sys.stderr)
    journal = _is_stderr_journal(environ)
    handler.setFormatter(_JournalFormatter() if journal else _LineFormatter("%(asctime)s %(levelname)s %(message)s"))
    return handler


def _is_stderr_journal(environ: Mapping[str, str]) -> bool:
    """Say whether standard error is the journal's stream (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        info = os.fstat(2)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{info.st_dev}:{info.st_ino}"


def _paramiko_filter(record: logging.LogRecord) -> bool:
    """Drop paramiko's records unless verbose, and log those at DEBUG: the session logs its own messages."""
    if not record.name.startswith("paramiko"):
        return True
    if logging.getLogger("paramiko").level > logging.DEBUG:
        return False
    record.levelno, record.levelname = logging.DEBUG, "DEBUG"
    return True


class _LineFormatter(logging.Formatter):
    """One line a record, with the time in UTC; a traceback follows on further lines."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        record.message = escaped(record.message, limit=MAX_LINE)
        return super().formatMessage(record)


class _JournalFormatter(_LineFormatter):
    """For the journal: a priority prefix (sd-daemon(3)) on every line, no time."""

    def __init__(self) -> None:
        super().__init__("%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        priority = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6}.get(record.levelname, 7)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


class _StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]  # no [] at run time before Python 3.11
    """Standard error; write errors (a closed terminal) are ignored."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's name
        """Do nothing: there is nowhere to report it."""


class _PrivateFileHandler(RotatingFileHandler):
    """A rotated file with mode 0600; write errors (a full disk) lose lines only."""

    def _open(self) -> Any:
        stream = open(  # noqa: SIM115  the handler closes it; only open() takes an opener
            self.baseFilename,
            self.mode,
            encoding=self.encoding,
            opener=lambda path, flags: os.open(path, flags, 0o600),
        )
        self._size = os.fstat(stream.fileno()).st_size
        return stream

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, after rotating the file if it is full.

        RotatingFileHandler formats each record twice and makes five system calls to decide on rotation, which costs
        more than a short connection does otherwise.
        """
        try:
            line = self.format(record) + self.terminator
            size = len(line.encode("utf-8", "surrogatepass"))
            if self._size + size > self.maxBytes:
                self.doRollover()
            if self.stream is None:  # doRollover failed half-way, for example on a full disk
                self.stream = self._open()
            self.stream.write(line)
            self.flush()
            self._size += size
        except Exception:  # noqa: BLE001  as logging does: a failing log must not stop the agent
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's name
        """Do nothing: there is nowhere to report it."""
