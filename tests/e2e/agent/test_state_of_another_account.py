"""Root's commands on the state folder of an agent that another account runs: it is read warily, and never written."""

from __future__ import annotations

import fcntl
import os
import stat
import tarfile
from typing import TYPE_CHECKING

import pytest
from tests.rigs.customer import Customer
from tests.rigs.ordinary_user import NOBODY

from ioconnect.config.paths import Paths, under
from ioconnect.errors import CannotCreate, SystemRefused
from ioconnect.status import lock, log_reader, snapshots
from ioconnect.status.snapshots import StatusDamaged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root reads the files of other accounts")

HANGS = 30.0  # seconds for one command, which takes one or two
READERS = {
    "status.json": lambda paths: snapshots.read(paths.status),
    "agent.lock": lambda paths: lock.holder(paths.lock),
    "ioconnect.log": lambda paths: log_reader.last_lines(paths.log, 10),
}


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """An installation whose state and log are another account's."""
    found = under(tmp_path)
    for folder in (found.state, found.log.parent):
        folder.mkdir(mode=0o755)
        os.chown(folder, NOBODY, NOBODY)
    return found


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "shadow"
    path.write_text('{"pid": 4711}\n')
    path.chmod(0o600)
    return path


def place_of(paths: Paths, name: str) -> Path:
    return next(path for path in (paths.status, paths.lock, paths.log) if path.name == name)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("place", [os.symlink, os.link, lambda _, path: os.mkfifo(path)])
def test_what_is_no_file_of_that_account_is_refused_at_once(
    paths: Paths, secret: Path, name: str, place: Callable[[Path, Path], None]
) -> None:
    place(secret, place_of(paths, name))

    with pytest.raises((StatusDamaged, SystemRefused), match=r"cannot (read|use)"):
        READERS[name](paths)


def test_root_takes_no_lock_there(paths: Paths, secret: Path) -> None:
    with pytest.raises(CannotCreate, match=f"{paths.state} belongs to nobody"):
        lock.AgentLock.acquire(paths.lock, version="1", started_at="")
    os.link(secret, paths.lock)
    with pytest.raises(CannotCreate, match="belongs to nobody"):
        lock.AgentLock.acquire(paths.lock, version="1", started_at="")

    assert list(paths.state.iterdir()) == [paths.lock]
    assert secret.read_text() == '{"pid": 4711}\n'


@pytest.fixture
def customer(tmp_path: Path) -> Iterator[Customer]:
    machine = Customer(tmp_path)
    machine.run("keygen")
    yield machine
    machine.close()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


def device(path: Path) -> None:
    """Make a terminal that says nothing: reading waits, and opening may make it the process's own."""
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(5, 0))  # /dev/tty


def huge(path: Path) -> None:
    """Make a file of 3 GiB that takes no room on the disk."""
    with path.open("wb") as file:
        file.truncate(3 << 30)


def locked(path: Path) -> None:
    """Make a file that an account holds locked (flock(2))."""
    path.touch()
    HELD.append(os.open(path, os.O_RDWR))
    fcntl.flock(HELD[-1], fcntl.LOCK_EX)


HELD: list[int] = []  # descriptors


@pytest.mark.parametrize(
    "place",
    [pipe, folder, device, huge, pytest.param(locked, marks=pytest.mark.long)],  # up waits for who holds the lock
    ids=lambda place: place.__name__,
)
def test_no_command_hangs_or_leaves_a_file_behind(
    paths: Paths, customer: Customer, secret: Path, place: Callable[[Path], None]
) -> None:
    """Whatever is in the place of the agent's files."""
    customer.run("register", "--endpoint", "127.0.0.1:40000", "--to", "127.0.0.1:3306")
    for path in (paths.status, paths.lock, paths.log):
        place(path)
        os.chown(path, NOBODY, NOBODY)
    commands = (
        *(("status",), ("down",), ("reload",), ("logs",), ("up",), ("up", "--daemon"), ("doctor", "--json")),
        ("doctor", "--bundle", str(secret.with_name("bundle.tar.gz"))),
    )
    try:
        for arguments in commands:
            customer.try_run(*arguments, deadline=HANGS)
    finally:
        while HELD:
            os.close(HELD.pop())

    assert sorted(path.name for path in paths.state.iterdir()) == ["agent.lock", "status.json"]
    assert list(paths.log.parent.iterdir()) == [paths.log]


def test_the_archive_for_support_has_no_file_that_a_link_leads_to(
    paths: Paths, customer: Customer, secret: Path, tmp_path: Path
) -> None:
    secret.write_text("root:$6$rounds\n")
    for path in (paths.status, paths.log, paths.log.with_name("crash.log")):
        path.symlink_to(secret)

    customer.try_run("doctor", "--bundle", str(tmp_path / "bundle.tar.gz"))

    with tarfile.open(tmp_path / "bundle.tar.gz") as archive:
        texts = [archive.extractfile(member).read().decode() for member in archive]  # type: ignore[union-attr]
    assert not any("$6$rounds" in text for text in texts)
    assert sum("is a link" in text for text in texts) >= 3
