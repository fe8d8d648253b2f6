"""A session's host key against pins that change, or cannot be read, while it is up."""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING, NoReturn

import pytest
from tests.rigs import processes

from ioconnect.agent.session import pins_reader
from ioconnect.agent.session.pins_reader import PinsReader
from ioconnect.agent.session.security import HostKeyVerifier
from ioconnect.config.addresses import HostPort
from ioconnect.config.configuration import Tunnel
from ioconnect.config.paths import Paths, under
from ioconnect.custody.entries import ANYBODY, Custody, Untrusted
from ioconnect.errors import ConfigInvalid, Fault, HostKeyChanged
from ioconnect.keys import known_hosts, private_keys
from ioconnect.keys.credentials import ReadFiles, load_pins

if TYPE_CHECKING:
    from collections.abc import Callable
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
        UNTRUSTED,
    ],
)
def test_pins_that_cannot_be_read_end_the_session(verifier: HostKeyVerifier, cause: BaseException | None) -> None:
    """They may revoke the key: only a marker that makes no sense did."""
    fault = unreadable(cause)

    with pytest.raises(ConfigInvalid) as caught:
        verifier.pins_read(fault)

    assert caught.value is fault


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE])
def test_a_machine_that_fails_just_now_does_not(verifier: HostKeyVerifier, code: int) -> None:
    verifier.pins_read(unreadable(OSError(code, os.strerror(code))))

    with pytest.raises(HostKeyChanged):
        verifier.verify(OTHER)


# --- reading them again


class Reading:
    """A file of pins, its reader, and what it reported; each reading waits for `may_go_on`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths = under(folder)
        self.reported: list[known_hosts.Pins | Fault] = []
        self.readings = 0
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
            return load_pins(paths)
        finally:
            self._at_once -= 1

    def read(self, *, only_if_changed: bool = True) -> None:
        """Read, and wait for the end of the thread."""
        self.reader.read(only_if_changed=only_if_changed)
        self.wait()

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
        reading.reader.read(only_if_changed=False)
    processes.wait_until(lambda: reading.readings == 1, what="the first reading")
    known_hosts.pin(reading.paths.known_hosts, HOST, PORT, [OTHER])
    reading.reader.read(only_if_changed=True)
    reading.may_go_on.set()
    reading.wait()

    assert reading.most_at_once == 1
    assert reading.readings == 2
    last = reading.reported[-1]
    assert isinstance(last, known_hosts.Pins)
    assert last.blobs_for(HOST, PORT) == (OTHER,)


def test_a_reading_that_breaks_is_not_the_last(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_paths: Paths) -> Callable[[], None]:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(pins_reader, "load_pins", broken)
        patched.setattr(threading, "excepthook", lambda _: None)
        reading.read()
    reading.read()

    assert len(reading.reported) == 1
