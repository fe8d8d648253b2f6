"""A session's host key against pins that change, or cannot be read, while it is up."""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING, NoReturn

import pytest
from tests.rigs import processes

from ioconnect.agent.session import pins_reader
from ioconnect.agent.session.pins_reader import FOREVER, PATIENCE, RETRY_INTERVAL, PinsReader
from ioconnect.agent.session.security import HostKeyVerifier
from ioconnect.config.addresses import HostPort
from ioconnect.config.configuration import Tunnel
from ioconnect.config.paths import Paths, under
from ioconnect.custody.entries import ANYBODY, Custody, Untrusted
from ioconnect.errors import ConfigInvalid, Fault
from ioconnect.keys import known_hosts, private_keys
from ioconnect.keys.credentials import ReadFiles, load_pins

if TYPE_CHECKING:
    from pathlib import Path

TUNNEL = Tunnel("orders", HostPort("jump.example", 40000), HostPort("localhost", 3306))
HOST, PORT = TUNNEL.jumphost.host, TUNNEL.jumphost.port
KEY, OTHER = (private_keys.generate(None)[1] for _ in range(2))
GOOD = known_hosts.parse(f"{known_hosts.line(HOST, PORT, KEY)}\n".encode())


def fail(fault: Fault) -> NoReturn:
    raise fault


@pytest.fixture
def verifier() -> HostKeyVerifier:
    """Of a session whose host key is pinned."""
    made = HostKeyVerifier(TUNNEL, ReadFiles(), fail)
    made.pins = GOOD
    made.verify(KEY)
    return made


def unreadable(cause: BaseException | None) -> ConfigInvalid:
    fault = ConfigInvalid("cannot read the pinned host keys")
    fault.__cause__ = cause
    return fault


UNTRUSTED = Untrusted("anybody", "known_hosts", Custody("known_hosts", frozenset({ANYBODY}), "anybody", "chmod"))


@pytest.mark.parametrize(
    "cause",
    [
        None,
        *(OSError(code, "") for code in (errno.EACCES, errno.EPERM, errno.ELOOP, errno.EISDIR, errno.EFBIG)),
        OSError(errno.EIO, ""),  # for a minute: see below
        UNTRUSTED,
    ],
)
def test_pins_that_cannot_be_read_end_the_session(verifier: HostKeyVerifier, cause: BaseException | None) -> None:
    """They may revoke the key: only a marker that makes no sense did."""
    fault = unreadable(cause)

    with pytest.raises(ConfigInvalid) as caught:
        verifier.pins_read(fault)

    assert caught.value is fault


# --- reading them again


class Reading:
    """A file of pins, its reader, and what it reported; each reading waits for `may_go_on`, or has `error`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths = under(folder)
        self.reported: list[known_hosts.Pins | Fault] = []
        self.readings = 0
        self.error: BaseException | None = None
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.most_at_once = 0
        self._at_once = 0
        monkeypatch.setattr(pins_reader, "load_pins", self._load)
        self.reader = PinsReader(TUNNEL, self.paths, self.reported.append)
        known_hosts.pin(self.paths.known_hosts, HOST, PORT, [KEY])
        known_hosts.pin(self.paths.known_hosts, "other.example", PORT, [OTHER])

    def _load(self, paths: Paths) -> known_hosts.Pins:
        self.readings += 1
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            assert self.may_go_on.wait(20)
            if self.error is not None:
                raise self.error
            return load_pins(paths)
        finally:
            self._at_once -= 1

    def read(self, now: float = 0.0, *, only_if_changed: bool = True) -> float:
        """Read, and wait for the end of the thread; return when to come back."""
        due = self.reader.read(now, only_if_changed=only_if_changed)
        self.wait()
        return due

    def check(self, now: float) -> float:
        """Have the time be `now`, and wait for the end of the thread; return when to come back."""
        due = self.reader.check(now)
        self.wait()
        return due

    def wait(self) -> None:
        processes.wait_until(lambda: not self.reader._is_reading, what="the end of the reading")


@pytest.fixture
def reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reading:
    return Reading(tmp_path, monkeypatch)


def test_what_is_read_is_about_the_jumphost_alone(reading: Reading) -> None:
    """The loop searches it: with thousands of hashed lines that took it a quarter of a second."""
    reading.read()

    (pins,) = reading.reported
    assert isinstance(pins, known_hosts.Pins)
    assert len(pins.entries) == 1
    assert pins.blobs_for(HOST, PORT) == (KEY,)


def test_a_file_that_did_not_change_is_not_read_again(reading: Reading) -> None:
    for _ in range(5):
        reading.read()
    assert reading.readings == 1

    known_hosts.pin(reading.paths.known_hosts, HOST, PORT, [OTHER])
    reading.read()
    assert reading.readings == 2

    reading.read(only_if_changed=False)  # a reload
    assert reading.readings == 3


def test_a_file_that_could_not_be_read_is_read_again(reading: Reading) -> None:
    reading.paths.known_hosts.unlink()
    reading.paths.known_hosts.mkdir()
    for _ in range(2):
        reading.read()

    assert reading.readings == 2
    assert all(isinstance(each, ConfigInvalid) for each in reading.reported)


def test_one_reading_at_a_time_and_the_last_sees_what_came_last(reading: Reading) -> None:
    """A thread for each key exchange was left where the disk hung."""
    reading.may_go_on.clear()
    for _ in range(50):
        reading.reader.read(0.0, only_if_changed=False)
    processes.wait_until(lambda: reading.readings == 1, what="the first reading")
    known_hosts.pin(reading.paths.known_hosts, HOST, PORT, [OTHER])
    reading.reader.read(0.0, only_if_changed=True)
    reading.may_go_on.set()
    reading.wait()

    assert reading.most_at_once == 1
    assert reading.readings == 2
    last = reading.reported[-1]
    assert isinstance(last, known_hosts.Pins)
    assert last.blobs_for(HOST, PORT) == (OTHER,)


# --- a machine that fails just now


FAILURES = [
    *(unreadable(OSError(code, os.strerror(code))) for code in (errno.EMFILE, errno.ENOMEM, errno.EIO, errno.ESTALE)),
    MemoryError(),
]


@pytest.fixture
def _no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)


@pytest.mark.usefixtures("_no_traceback")
@pytest.mark.parametrize("error", FAILURES, ids=str)
def test_what_the_machine_fails_to_read_is_tried_again(reading: Reading, error: BaseException) -> None:
    """A revoked session stayed until the next reload."""
    reading.error = error
    due = reading.read(100.0, only_if_changed=False)
    assert due == 100.0 + RETRY_INTERVAL
    assert reading.check(100.1) < 104.0  # a timer of somebody else's
    assert (reading.readings, reading.reported) == (1, [])

    due = reading.check(due)
    assert (reading.readings, reading.reported) == (2, [])

    reading.error = None
    due = reading.check(due)
    assert reading.readings == 3
    assert isinstance(reading.reported[-1], known_hosts.Pins)
    assert reading.check(due) == FOREVER
    assert reading.check(100.0 + PATIENCE) == FOREVER
    assert len(reading.reported) == 1


@pytest.mark.usefixtures("_no_traceback")
@pytest.mark.parametrize("error", FAILURES, ids=str)
def test_after_a_minute_they_count_as_unreadable(reading: Reading, error: BaseException) -> None:
    reading.error = error
    due = reading.read(100.0, only_if_changed=False)
    while due != FOREVER:
        assert reading.reported == []
        now, due = due, reading.check(due)

    assert now == 100.0 + PATIENCE
    assert 15 < reading.readings < 25
    (fault,) = reading.reported
    assert isinstance(fault, ConfigInvalid)
    assert "cannot read the pinned host keys" in fault.message


def test_a_reading_that_hangs_counts_as_unreadable_after_a_minute(reading: Reading) -> None:
    """Asking again meanwhile (key exchanges) does not begin the minute anew, and starts no second thread."""
    reading.may_go_on.clear()
    due = reading.reader.read(100.0)
    processes.wait_until(lambda: reading.readings == 1, what="the reading")
    while due != FOREVER:
        assert reading.reported == []
        now, due = due, min(reading.reader.read(due, only_if_changed=True), reading.reader.check(due))

    assert now == 100.0 + PATIENCE
    assert reading.readings == 1
    (fault,) = reading.reported
    assert isinstance(fault, ConfigInvalid)
    assert "no answer for 60 s" in fault.message
    reading.may_go_on.set()
    reading.wait()


def test_a_thread_that_cannot_be_started_is_tried_again(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refused)
        due = reading.read(100.0, only_if_changed=False)
        due = reading.check(due)
    assert (reading.readings, reading.reported) == (0, [])

    reading.check(due)
    assert isinstance(reading.reported[-1], known_hosts.Pins)
