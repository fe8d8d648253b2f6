"""Where root's agent writes its log: below a folder of a service's group, as /var/log of Ubuntu."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest
from tests.rigs.owned_files import OTHER

from ioconnect.agent.process import launch
from ioconnect.custody import descriptors, files, writers
from ioconnect.custody.entries import Untrusted
from ioconnect.errors import CannotCreate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root acts on behalf of other accounts")


def members(monkeypatch: pytest.MonkeyPatch, *uids: int) -> None:
    monkeypatch.setattr(writers, "group_members", lambda gid: frozenset(uids if gid == OTHER else ()))


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A folder as /var/log of Ubuntu: root:syslog 0775."""
    path = tmp_path / "log"
    path.mkdir()
    os.chown(path, 0, OTHER)
    path.chmod(0o775)
    return path


APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND


def test_a_log_may_be_below_a_folder_of_a_services_group(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members(monkeypatch, 104)
    path = logs / "ioconnect" / "ioconnect.log"
    files.make_folder(path.parent)

    os.close(descriptors.open_log(path, APPEND))
    files.rename(path, "ioconnect.log.1")
    os.close(descriptors.open_log(path, APPEND))

    assert {(each.name, each.stat().st_uid) for each in path.parent.iterdir()} == {
        ("ioconnect.log", 0),
        ("ioconnect.log.1", 0),
    }
    with pytest.raises(Untrusted, match="root keeps no file open there"):
        descriptors.open_to_write(path, APPEND)  # a lock is no log


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: os.chown(path.parent, 104, 104),
        lambda path: path.parent.chmod(0o777),
        lambda path: (path.touch(), os.chown(path, 104, 104)),
        lambda path: path.symlink_to(path.parent.parent / "auth.log"),
        lambda path: (path.with_name("other").touch(), os.link(path.with_name("other"), path)),
        os.mkfifo,
    ],
)
def test_what_such_a_service_put_in_its_place_is_not_written(
    logs: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], object]
) -> None:
    members(monkeypatch, 104)
    path = logs / "ioconnect" / "ioconnect.log"
    path.parent.mkdir(mode=0o755)
    (logs / "auth.log").touch()
    spoil(path)

    with pytest.raises((Untrusted, OSError)):
        descriptors.open_log(path, APPEND, types=(stat.S_IFREG, stat.S_IFIFO))

    assert (logs / "auth.log").stat().st_size == 0


def test_a_log_is_not_below_a_folder_of_peoples_group(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members(monkeypatch, 104, 1000)
    (logs / "ioconnect").mkdir(mode=0o755)

    with pytest.raises(Untrusted, match=f"may write {logs}") as caught:
        descriptors.open_log(logs / "ioconnect" / "ioconnect.log", APPEND)

    assert caught.value.hint.startswith("move it into folders that only root may change, or run it as")


def test_a_start_that_is_refused_for_that_names_another_folder(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can move /var/log."""
    members(monkeypatch, 104, 1000)

    with pytest.raises(CannotCreate, match=f"may write {logs}") as caught:
        launch._spawn(logs / "ioconnect" / "crash.log", ["up"], 3)

    assert "IOCONNECT_HOME" in caught.value.hint


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK])
def test_a_log_is_of_the_types_that_are_named(tmp_path: Path, kind: int) -> None:
    path = tmp_path / "log"
    os.mknod(path, kind | 0o600, os.makedev(1, 3) if kind == stat.S_IFCHR else os.makedev(7, 250))

    with pytest.raises(OSError, match=r"not a regular file|No such device"):
        descriptors.open_log(path, os.O_WRONLY, types=(stat.S_IFREG, stat.S_IFIFO))
