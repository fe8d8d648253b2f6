"""The log as it arrives in its file, on standard error and in the journal."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import stat
import threading
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes

from ioconnect.agent.process import log_outputs, log_queue, log_setup
from ioconnect.agent.process.log_outputs import FileOutput
from ioconnect.agent.process.log_setup import LogSetup

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.rigs.agent_scene import AgentScene

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


def test_a_jumphost_cannot_rotate_the_lines_of_outages_away(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that it can cause at will is detail (-v), which is limited for each session, across its sessions."""
    monkeypatch.setattr(log_outputs, "MAX_FILE_SIZE", 10_000)
    sent = 5000  # some 500 kB: eight times what is kept

    def flood() -> None:
        for number in range(sent):
            ours.debug("the jumphost says: %s", f"message {number} " + "x" * 60)
            if number % 500 == 0:  # the queue drops what comes faster than it is written
                processes.wait_until(queue_is_empty, what="the log is written")

    setup = LogSetup(file=file, verbose=1, environ={})
    queue_is_empty = setup._handler._queue.empty
    ours.error("orders: held, the host key changed")
    ours.warning("orders: lost")
    for _ in range(2):
        session = threading.Thread(target=flood, name="tunnel orders")
        session.start()
        session.join()
    ours.info("orders: connected again")
    setup.close()

    lines = [line for each in file.parent.iterdir() for line in each.read_text().splitlines()]
    said = {line.split(" ", 1)[1] for line in lines}
    assert {
        "ERROR orders: held, the host key changed",
        "WARNING orders: lost",
        "INFO orders: connected again",
    } <= said
    assert len(lines) <= log_setup.DETAIL_LINES + 3


def test_what_was_left_out_is_counted(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(log_setup.time, "monotonic", lambda: now[0])

    def details(count: int) -> None:
        def session() -> None:
            for number in range(count):
                ours.debug("detail %d", number)

        thread = threading.Thread(target=session, name="tunnel orders")
        thread.start()
        thread.join()

    setup = LogSetup(file=file, verbose=1, environ={})
    details(log_setup.DETAIL_LINES + 7)
    now[0] += log_setup.DETAIL_SECONDS + 1
    details(1)
    setup.close()

    assert file.read_text().splitlines()[-1].endswith("orders: (7 lines of detail were left out) detail 0")


@pytest.mark.parametrize(("option", "most"), [((), 2), (("-v",), 30)], ids=["usual", "verbose"])
def test_a_flood_of_opens_leaves_few_lines(scene: AgentScene, option: tuple[str, ...], most: int) -> None:
    """A jumphost opens and opens while the database is down."""
    config = scene.paths.config
    config.write_text(config.read_text().replace(f":{scene.database.port}", f":{processes.free_port()}"))
    scene.customer.run(*option, "up", "--daemon")

    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", scene.port), timeout=5) as pipeline:
            pipeline.settimeout(5)
            pipeline.recv(1)
    scene.customer.run("down")

    log = scene.customer.log_text().splitlines()
    assert len([line for line in log if "connection from" in line]) <= most
    assert len(log) < 200
    assert [line for line in log if "WARNING" in line and "database unreachable" in line]
    assert [line for line in log if re.search("more connections failed", line)]
