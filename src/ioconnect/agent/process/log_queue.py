"""A bounded queue of log records with one writer thread, so that logging never blocks the thread that logs.

`logging.handlers.QueueListener` is not used: it cannot count what a full queue dropped, and its `stop` joins a writer
that hangs. The writer sleeps without a timeout while there is nothing to write.
"""

from __future__ import annotations

import logging
import queue
import threading
import traceback
from typing import TYPE_CHECKING, Protocol

from ioconnect.custody.entries import Untrusted

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_RECORDS = 1000  # that wait to be written
MAX_LINE = 4000  # characters
FLUSH_TIMEOUT = 1.0  # seconds that `close` waits for the writer
_IMMUTABLE = (str, int, float, bool, type(None))


class LogOutput(Protocol):
    """Where lines are written; may block."""

    def write(self, line: bytes) -> None:
        """Write a line, with its newline. Raises OSError."""

    def close(self) -> None:
        """Close it."""


class LogQueue(logging.Handler):
    """Queues records; a daemon thread formats and writes them.

    Records are dropped while the queue is full, and until it is half empty again, so that one line can count them:
    it is written where they would have been, or once the queue is empty. Lines that the output refused (a full disk)
    are counted too.
    """

    def __init__(self, output: LogOutput) -> None:
        super().__init__()
        self._output = output
        self._queue: queue.SimpleQueue[logging.LogRecord | None] = queue.SimpleQueue()
        self._dropped = 0  # under the handler's lock, which is never held while writing
        self._lost = 0  # the writer's
        self._closed = False
        self._writer = threading.Thread(target=self._run, name="log writer", daemon=True)
        self._writer.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record, or count it as dropped; any thread, returns at once."""
        waiting = self._queue.qsize()
        if waiting >= MAX_RECORDS or (self._dropped and waiting > MAX_RECORDS // 2):
            self._dropped += 1
            return
        try:
            _detach(record)
        except Exception:  # noqa: BLE001  as logging does: a faulty log call must not stop the agent
            self.handleError(record)
            return
        self._queue_dropped()
        self._queue.put(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's name
        """Do nothing: there is nowhere to report it."""

    def close(self) -> None:
        """Write what is queued, and close the output; give up after FLUSH_TIMEOUT if the writer hangs."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._writer.join(FLUSH_TIMEOUT)
        super().close()

    @property
    def is_hung(self) -> bool:
        """Whether the writer was still busy when `close` gave up."""
        return self._closed and self._writer.is_alive()

    def _queue_dropped(self) -> None:
        if self._dropped:
            self._queue.put(_warning(self._dropped, "dropped: nobody read the log"))
            self._dropped = 0

    def _run(self) -> None:
        while (record := self._queue.get()) is not None:
            self._write(record)
            if self._dropped and self._queue.empty():
                self.acquire()
                try:
                    self._queue_dropped()
                finally:
                    self.release()
        self._output.close()

    def _write(self, record: logging.LogRecord) -> None:
        if self._lost and not self._try_write(_warning(self._lost, "lost: they could not be written")):
            self._lost += 1
            return
        self._lost = 0
        if not self._try_write(record):
            self._lost = 1

    def _try_write(self, record: logging.LogRecord) -> bool:
        try:
            self._output.write(f"{self.format(record)}\n".encode("utf-8", "backslashreplace"))
        except (OSError, Untrusted):  # an account took the folder over since
            return False
        except Exception:  # noqa: BLE001  a record that cannot be formatted, as above
            self.handleError(record)
        return True


def _detach(record: logging.LogRecord) -> None:
    """Have the record hold nothing that may change or that is large, before another thread formats it.

    Numbers and short texts are kept as they are: formatting them is the writer's work. So are the lines of source of
    a traceback, which are read from files.
    """
    args = record.args
    if not (
        isinstance(args, tuple)
        and all(type(each) in _IMMUTABLE and (type(each) is not str or len(each) <= MAX_LINE) for each in args)
    ):
        record.msg, record.args = record.getMessage()[: MAX_LINE + 1], ()
    if record.exc_info and record.exc_info[0] is not None:
        _, error, frames = record.exc_info
        if error is not None:
            read = traceback.TracebackException(type(error), error, frames, lookup_lines=False).format
            record.format_traceback = read
    record.exc_info = None


def traceback_text(record: logging.LogRecord) -> str | None:
    """Return the traceback of a record that went through the queue."""
    read: Callable[[], list[str]] | None = getattr(record, "format_traceback", None)
    return "".join(read()).rstrip("\n") if read is not None else record.exc_text


def _warning(count: int, what: str) -> logging.LogRecord:
    text = f"{count} lines were {what}" if count > 1 else f"1 line was {what}"
    return logging.LogRecord("ioconnect", logging.WARNING, __file__, 0, text, (), None)
