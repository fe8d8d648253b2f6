"""One at a time changes a file; nothing is left of the lock."""

from __future__ import annotations

import fcntl
import os
import threading
from typing import TYPE_CHECKING

import pytest
from tests.rigs import ordinary_user

from ioconnect.custody import folder_lock
from ioconnect.custody.folder_lock import locked
from ioconnect.errors import CannotCreate, SystemRefused

if TYPE_CHECKING:
    from pathlib import Path

TRY_TO_LOCK = """
from pathlib import Path
from ioconnect.custody import folder_lock
from ioconnect.errors import Fault
folder_lock.TIMEOUT = 0.1
try:
    with folder_lock.locked(Path("{folder}/config.toml")):
        print("locked")
except Fault as fault:
    print(fault.message)
"""


def test_one_at_a_time(tmp_path: Path) -> None:
    file = tmp_path / "new" / "counter"

    def count() -> None:
        for _ in range(25):
            with locked(file):
                file.write_text(str(int(file.read_text() if file.exists() else "0") + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert file.read_text() == "100"
    assert list(file.parent.iterdir()) == [file]


def test_who_waits_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_lock, "TIMEOUT", 0.1)

    with (
        locked(tmp_path / "config.toml"),
        pytest.raises(SystemRefused, match="another program has held the lock") as refused,
        locked(tmp_path / "known_hosts"),
    ):
        pass

    assert f"fuser -v {tmp_path / folder_lock.NAME}" in refused.value.hint


def test_who_may_only_list_the_folder_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of root's configuration is open to all (0755), and flock(2) asks for no right to write."""
    monkeypatch.setattr(folder_lock, "TIMEOUT", 0.1)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with locked(tmp_path / "config.toml"):
            assert (tmp_path / folder_lock.NAME).stat().st_mode & 0o777 == 0o600
    finally:
        os.close(descriptor)


def test_the_file_of_one_that_was_killed_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / folder_lock.NAME).touch()

    with locked(tmp_path / "config.toml"):
        pass

    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")
def test_root_and_another_account_take_turns_in_its_folder() -> None:
    """Whose file it is while it is held, the other one waits for it; root follows no link there."""
    with ordinary_user.folder() as folder:
        with locked(folder / "config.toml"):
            told = ordinary_user.run("", TRY_TO_LOCK.format(folder=folder))
        assert "another program has held the lock" in told
        assert ordinary_user.run("", TRY_TO_LOCK.format(folder=folder)) == "locked\n"
        (folder / folder_lock.NAME).symlink_to("/etc/shadow")
        with pytest.raises(CannotCreate), locked(folder / "config.toml"):
            pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")
def test_a_folder_where_one_may_not_write_is_no_lock_of_anothers() -> None:
    with ordinary_user.folder(own=False) as folder, locked(folder / "config.toml"):
        told = ordinary_user.run("", TRY_TO_LOCK.format(folder=folder))

    assert f"cannot write {folder / 'config.toml'}: Permission denied" in told


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(CannotCreate), locked(tmp_path / "file" / "config.toml"):
        pass
