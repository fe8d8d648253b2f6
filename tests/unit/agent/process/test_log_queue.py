"""The log's queue: what it promises to the threads that log while its writer hangs, fails, or is slow."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rigs.processes import wait_until

from ioconnect.agent.process.log_queue import FLUSH_TIMEOUT, MAX_LINE, MAX_RECORDS, LogQueue, traceback_text
from ioconnect.custody.entries import Custody, Untrusted

if TYPE_CHECKING:
    from collections.abc import Iterator


class Output:
    """An output that hangs while `reads` is not set, and fails while there is an `error`."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.reads = threading.Event()
        self.reads.set()
        self.writing = threading.Event()
        self.error: Exception | None = None
        self.is_closed = False

    def write(self, line: bytes) -> None:
        self.writing.set()
        self.reads.wait()
        if self.error is not None:
            raise self.error
        self.lines.append(line.decode().removesuffix("\n"))

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def output() -> Iterator[Output]:
    output = Output()
    yield output
    output.reads.set()


@pytest.fixture
def log(output: Output) -> Iterator[logging.Logger]:
    logger = logging.Logger("test")  # noqa: LOG001  one that pytest does not listen to
    logger.addHandler(queue := LogQueue(output))
    yield logger
    output.reads.set()
    queue.close()


def close(log: logging.Logger) -> LogQueue:
    queue = log.handlers[0]
    assert isinstance(queue, LogQueue)
    queue.close()
    return queue


def hang(log: logging.Logger, output: Output) -> None:
    """Return once the writer hangs in its output."""
    output.reads.clear()
    output.writing.clear()
    log.warning("the line that hangs")
    assert output.writing.wait(5)


def test_a_hung_output_delays_nobody_and_the_dropped_lines_are_counted(log: logging.Logger, output: Output) -> None:
    hang(log, output)
    began = time.monotonic()
    for number in range(MAX_RECORDS + 234):
        log.warning("line %d", number)
    assert time.monotonic() - began < 1

    output.reads.set()
    wait_until(lambda: len(output.lines) == MAX_RECORDS + 2)
    assert output.lines[0] == "the line that hangs"
    assert output.lines[MAX_RECORDS] == f"line {MAX_RECORDS - 1}"
    assert output.lines[-1] == "234 lines were dropped: nobody read the log"


def test_the_count_stands_where_the_dropped_lines_would_have_been(log: logging.Logger, output: Output) -> None:
    hang(log, output)
    for number in range(MAX_RECORDS + 1):
        log.warning("line %d", number)
    output.reads.set()
    wait_until(lambda: len(output.lines) == MAX_RECORDS + 2)
    log.warning("afterwards")
    close(log)

    assert output.lines[-2:] == ["1 line was dropped: nobody read the log", "afterwards"]


def test_a_hung_output_delays_the_end_by_a_second(log: logging.Logger, output: Output) -> None:
    hang(log, output)
    began = time.monotonic()

    assert close(log).is_hung
    assert FLUSH_TIMEOUT <= time.monotonic() - began < FLUSH_TIMEOUT + 1


def test_close_writes_what_is_queued(log: logging.Logger, output: Output) -> None:
    hang(log, output)
    for number in range(100):
        log.warning("line %d", number)
    output.reads.set()

    assert not close(log).is_hung
    assert output.lines[-1] == "line 99"
    assert output.is_closed


NOT_ROOTS = Untrusted("log belongs to nobody", Path("log"), Custody(Path("log"), frozenset({1}), "", ""))


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), NOT_ROOTS])
def test_a_full_disk_loses_lines_and_their_number_is_written(
    log: logging.Logger, output: Output, error: Exception
) -> None:
    """So does a folder that another account took over."""
    output.error = error
    hang(log, output)
    log.warning("two")
    log.warning("three")
    output.reads.set()
    queue = log.handlers[0]
    wait_until(lambda: getattr(queue, "_lost", 0) == 3)
    output.error = None
    log.warning("four")
    close(log)

    assert output.lines == ["3 lines were lost: they could not be written", "four"]


def test_a_record_is_what_it_was_when_it_was_logged(log: logging.Logger, output: Output) -> None:
    hang(log, output)
    changing = ["then"]
    log.warning("%s", changing)
    log.warning("%(key)s", {"key": "a mapping"})
    log.warning("%s", "x" * 10 * MAX_LINE)
    log.warning("%d", "no number")
    changing[0] = "now"
    output.reads.set()
    close(log)

    assert output.lines[1:3] == ["['then']", "a mapping"]
    assert len(output.lines[3]) == MAX_LINE + 1
    assert len(output.lines) == 4


def test_a_traceback_survives_and_its_frames_do_not(output: Output) -> None:
    """A record that waits keeps no socket of a frame alive."""
    record = logging.LogRecord("test", logging.ERROR, __file__, 1, "a bug", (), None)
    try:
        int("the cause")
    except ValueError as error:
        record.exc_info = (ValueError, error, error.__traceback__)
    queue = LogQueue(output)
    queue.emit(record)
    queue.close()

    text = traceback_text(record) or ""
    assert record.exc_info is None
    assert text.splitlines()[-1].startswith("ValueError: invalid literal")
    assert 'int("the cause")' in text
