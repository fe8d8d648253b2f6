"""The log as it arrives in its file, on standard error and in the journal."""

from __future__ import annotations

import logging
import os
import re
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from ioconnect.agent.process import log_outputs, log_queue
from ioconnect.agent.process.log_outputs import FileOutput
from ioconnect.agent.process.log_setup import LogSetup

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ours = logging.getLogger("ioconnect.agent.session.session")
paramikos = logging.getLogger("paramiko.transport")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log" / "ioconnect.log"


def logged(file: Path, *calls: Callable[[], None]) -> list[str]:
    """Return the lines of a log that was open during these calls."""
    setup = LogSetup(file=file, verbose=0, environ={})
    for call in calls:
        call()
    setup.close()
    return file.read_text().splitlines()


def test_a_line_has_its_time_in_utc(file: Path) -> None:
    lines = logged(file, lambda: ours.info("orders: connected"))

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO orders: connected", lines[0])


def test_no_jumphost_can_inject_a_line(file: Path) -> None:
    lines = logged(file, lambda: ours.warning("it said: %s", "bye\n2026-01-01 INFO all is well\x1b[2J"))

    assert len(lines) == 1
    assert r"bye\n2026-01-01 INFO all is well\x1b[2J" in lines[0]


def test_a_line_of_a_tunnels_thread_carries_the_tunnels_name(file: Path) -> None:
    def in_thread(name: str, text: str) -> None:
        thread = threading.Thread(target=ours.info, args=(text,), name=name)
        thread.start()
        thread.join()

    lines = logged(
        file,
        lambda: in_thread("tunnel orders", "the jumphost says: hello"),
        lambda: in_thread("dial orders", "orders: cannot dial"),
        lambda: ours.info("ended"),
    )

    assert [line.split(" ", 2)[2] for line in lines] == [
        "orders: the jumphost says: hello",
        "orders: cannot dial",
        "ended",
    ]


def test_paramikos_records_are_logged_only_when_verbose(file: Path) -> None:
    for verbose in (0, 1):
        setup = LogSetup(file=file, verbose=verbose, environ={})
        paramikos.error("secsh channel %d", verbose)
        ours.debug("step %d", verbose)
        setup.close()

    lines = file.read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["DEBUG secsh channel 1", "DEBUG step 1"]


def test_the_file_is_private_and_rotated(file: Path) -> None:
    mask = os.umask(0)
    try:
        output = FileOutput(file)
        for _ in range(3 * log_outputs.MAX_FILE_SIZE // log_queue.MAX_LINE):
            output.write(b"x" * log_queue.MAX_LINE + b"\n")
        output.close()
    finally:
        os.umask(mask)

    files = sorted(file.parent.iterdir())
    assert [each.name for each in files] == ["ioconnect.log", *(f"ioconnect.log.{n}" for n in (1, 2, 3))]
    assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}
    assert all(each.stat().st_size <= log_outputs.MAX_FILE_SIZE for each in files)


def test_the_journal_gets_priorities_instead_of_times(capfd: pytest.CaptureFixture[str]) -> None:
    stream = os.fstat(2)
    setup = LogSetup(file=None, verbose=0, environ={"JOURNAL_STREAM": f"{stream.st_dev}:{stream.st_ino}"})
    ours.warning("orders: lost")
    ours.error("a bug", exc_info=RuntimeError("oh"))
    setup.close()

    lines = capfd.readouterr().err.splitlines()
    assert lines[:2] == ["<4>orders: lost", "<3>a bug"]
    assert lines[2:] == ["<3>RuntimeError: oh"]


def test_a_stream_that_is_not_the_journal_gets_times(capfd: pytest.CaptureFixture[str]) -> None:
    setup = LogSetup(file=None, verbose=0, environ={"JOURNAL_STREAM": "1:1"})
    ours.warning("orders: lost")
    setup.close()

    assert re.match(r"\d{4}-.*Z WARNING orders: lost", capfd.readouterr().err)
