"""The log as it arrives in its file, on standard error and in the journal."""

from __future__ import annotations

import logging
import os
import re
import stat
from typing import TYPE_CHECKING

import pytest

from ioconnect.agent.process import log_setup
from ioconnect.agent.process.log_setup import LogSetup

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ours = logging.getLogger("ioconnect.agent.session.session")
paramikos = logging.getLogger("paramiko.transport")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log" / "ioconnect.log"


@pytest.fixture
def setup(file: Path) -> Iterator[LogSetup]:
    running = LogSetup(file=file, verbose=0, environ={})
    yield running
    running.close()


def test_a_line_has_its_time_in_utc(file: Path, setup: LogSetup) -> None:
    assert setup
    ours.info("orders: connected")

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO orders: connected\n", file.read_text())


def test_no_jumphost_can_inject_a_line(file: Path, setup: LogSetup) -> None:
    assert setup
    ours.warning("it said: %s", "bye\n2026-01-01 INFO all is well\x1b[2J")

    assert len(file.read_text().splitlines()) == 1
    assert r"bye\n2026-01-01 INFO all is well\x1b[2J" in file.read_text()


def test_paramikos_records_are_logged_only_when_verbose(file: Path) -> None:
    for verbose in (0, 1):
        setup = LogSetup(file=file, verbose=verbose, environ={})
        paramikos.error("secsh channel %d", verbose)
        ours.debug("step %d", verbose)
        setup.close()

    lines = file.read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["DEBUG secsh channel 1", "DEBUG step 1"]


def test_the_file_is_private_and_rotated(file: Path, setup: LogSetup) -> None:
    assert setup
    mask = os.umask(0)
    try:
        for _ in range(3 * log_setup.MAX_FILE_SIZE // log_setup.MAX_LINE):
            ours.info("%s", "x" * log_setup.MAX_LINE)
    finally:
        os.umask(mask)

    files = sorted(file.parent.iterdir())
    assert [each.name for each in files] == ["ioconnect.log", *(f"ioconnect.log.{n}" for n in (1, 2, 3))]
    assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}
    assert all(each.stat().st_size <= log_setup.MAX_FILE_SIZE for each in files)


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
