"""Where the log goes and how its lines look.

A file for the daemon (rotated, 0600), standard error otherwise; with priorities instead of times when that is the
journal. Everything is escaped on its way out: no jumphost writes a line of its own into it.
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

LARGEST_FILE = 5_000_000  # bytes
OLD_FILES = 5
LONGEST_LINE = 4000  # characters
_TOPICS = ("ioconnect", "paramiko")


class LogSetup:
    """A running log; `close` puts back what was there, so that a test can start the next."""

    def __init__(self, *, file: Path | None, verbose: int, environ: Mapping[str, str]) -> None:
        """Log to the file, or to standard error if there is none. Raises CannotCreate."""
        handler = _to_file(file) if file else _to_stderr(environ)
        handler.addFilter(_quieten_paramiko)
        level = logging.DEBUG if verbose > 0 else logging.WARNING if verbose < 0 else logging.INFO
        handler.setLevel(level)
        self._handler = handler
        for topic in _TOPICS:
            logger = logging.getLogger(topic)
            logger.setLevel(level)
            logger.propagate = False
            logger.addHandler(handler)

    def close(self) -> None:
        """Stop logging and close the file."""
        for topic in _TOPICS:
            logger = logging.getLogger(topic)
            logger.removeHandler(self._handler)
            logger.propagate = True
            logger.setLevel(logging.NOTSET)
        self._handler.close()


def _to_file(path: Path) -> logging.Handler:
    make_folder(path.parent)
    try:
        handler = _PrivateFile(path, maxBytes=LARGEST_FILE, backupCount=OLD_FILES, encoding="utf-8")
    except OSError as error:
        raise CannotCreate(
            f"cannot write the log {path}: {error.strerror}",
            hint="Check the folder's permissions and the free space on its disk.",
        ) from error
    handler.setFormatter(_Lines("%(asctime)s %(levelname)s %(message)s"))
    return handler


def _to_stderr(environ: Mapping[str, str]) -> logging.Handler:
    handler = _Stream(sys.stderr)
    journal = _is_journal(environ)
    handler.setFormatter(_JournalLines() if journal else _Lines("%(asctime)s %(levelname)s %(message)s"))
    return handler


def _is_journal(environ: Mapping[str, str]) -> bool:
    """Say whether standard error is the journal's stream (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        info = os.fstat(2)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{info.st_dev}:{info.st_ino}"


def _quieten_paramiko(record: logging.LogRecord) -> bool:
    """Let paramiko speak only when we are verbose: what matters of it, the session says in our words."""
    if not record.name.startswith("paramiko"):
        return True
    if logging.getLogger("paramiko").level > logging.DEBUG:
        return False
    record.levelno, record.levelname = logging.DEBUG, "DEBUG"
    return True


class _Lines(logging.Formatter):
    """One line a record, with the time in UTC; a traceback follows on lines of its own."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        record.message = escaped(record.message, limit=LONGEST_LINE)
        return super().formatMessage(record)


class _JournalLines(_Lines):
    """The same for the journal, which knows the time: a priority (sd-daemon(3)) before every line."""

    def __init__(self) -> None:
        super().__init__("%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        priority = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6}.get(record.levelname, 7)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


class _Stream(logging.StreamHandler):  # type: ignore[type-arg]  # no [] at run time before Python 3.11
    """Standard error; when nobody takes what we say (a closed terminal), the tunnel goes on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's name
        """Do nothing: there is nowhere left to complain."""


class _PrivateFile(RotatingFileHandler):
    """A file that only its owner can read; a full disk loses lines, never the agent."""

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
        """Write a line, into a new file if this one is full.

        The base class formats each line twice and asks the file system five times whether to: that is more than a
        short connection costs us otherwise.
        """
        try:
            line = self.format(record) + self.terminator
            size = len(line.encode("utf-8", "surrogatepass"))
            if self._size + size > self.maxBytes:
                self.doRollover()
            if self.stream is None:  # the roll-over failed half-way, on a full disk perhaps
                self.stream = self._open()
            self.stream.write(line)
            self.flush()
            self._size += size
        except Exception:  # noqa: BLE001  as logging does: a log that fails must not stop what it tells of
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's name
        """Do nothing: there is nowhere left to complain."""
