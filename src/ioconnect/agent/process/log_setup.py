"""Configures logging: one queue for all loggers, and how a line looks.

The daemon logs to a file (rotated, mode 0600), otherwise the log goes to standard error; if that is the journal, with
priorities instead of timestamps. All messages are escaped, so a jumphost cannot inject lines. Formatting and writing
are the work of the queue's writer thread.
"""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING

from ioconnect.agent.process.log_outputs import STDERR, FileOutput, StderrOutput
from ioconnect.agent.process.log_queue import MAX_LINE, LogQueue, traceback_text
from ioconnect.escape import escaped
from ioconnect.line_limit import LineLimit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_LOGGERS = ("ioconnect", "paramiko")
DETAIL_LINES = 200  # of a session, in DETAIL_SECONDS; a key exchange has about 25
DETAIL_SECONDS = 100.0
_THREADS = ("tunnel", "dial")  # the kinds of threads that have the name of a tunnel


class LogSetup:
    """The configured log; `close` restores the loggers, so that a test can configure it again."""

    def __init__(self, *, file: Path | None, verbose: int, environ: Mapping[str, str]) -> None:
        """Log to the file, or to standard error without one. Raises CannotCreate."""
        handler = LogQueue(FileOutput(file) if file else StderrOutput())
        journal = file is None and _is_stderr_journal(environ)
        handler.setFormatter(_JournalFormatter() if journal else _LineFormatter())
        handler.addFilter(_paramiko_filter)
        handler.addFilter(_DetailLimit())
        level = logging.DEBUG if verbose > 0 else logging.WARNING if verbose < 0 else logging.INFO
        handler.setLevel(level)
        self._handler = handler
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            logger.setLevel(level)
            logger.propagate = False
            logger.addHandler(handler)

    def close(self) -> None:
        """Write what is queued, for a second at most, and stop logging."""
        self._handler.close()
        if self._handler.is_hung:
            return  # without our handler, logging would print what threads log now, and block them
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            logger.removeHandler(self._handler)
            logger.propagate = True
            logger.setLevel(logging.NOTSET)


def _is_stderr_journal(environ: Mapping[str, str]) -> bool:
    """Say whether standard error is the journal's stream (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        info = os.fstat(STDERR)
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


class _DetailLimit:
    """Limits the DEBUG lines of each session, most of which a jumphost can cause at will.

    It would rotate the lines of outages and refused host keys away otherwise. The next line counts what was left out.
    """

    def __init__(self) -> None:
        self._limits: dict[str, LineLimit] = {}  # by the name of the session's thread, which alone uses it

    def __call__(self, record: logging.LogRecord) -> bool:
        name = record.threadName or ""
        if record.levelno > logging.DEBUG or not name.startswith("tunnel "):
            return True
        now = time.monotonic()
        limit = self._limits.setdefault(name, LineLimit(DETAIL_LINES, DETAIL_SECONDS, now))
        if limit.suppressed and limit.due <= now:
            record.msg = f"({limit.take_suppressed(now)} lines of detail were left out) {record.msg}"
            return True
        return limit.allow(now)


class _LineFormatter(logging.Formatter):
    """One line a record, with the time in UTC and the tunnel's name; a traceback follows on further lines."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self, style: str = "%(asctime)s %(levelname)s %(message)s") -> None:
        super().__init__(style)

    def format(self, record: logging.LogRecord) -> str:
        record.exc_text = traceback_text(record)
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        kind, _, name = (record.threadName or "").partition(" ")
        if kind in _THREADS and not record.message.startswith(f"{name}: "):
            record.message = f"{name}: {record.message}"
        record.message = escaped(record.message, limit=MAX_LINE)
        return super().formatMessage(record)


class _JournalFormatter(_LineFormatter):
    """For the journal: a priority prefix (sd-daemon(3)) on every line, no time."""

    def __init__(self) -> None:
        super().__init__("%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        priority = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6}.get(record.levelname, 7)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())
