"""One at a time changes a file; nothing is left of the lock."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from ioconnect.custody import folder_lock
from ioconnect.custody.folder_lock import locked
from ioconnect.errors import CannotCreate, SystemRefused

if TYPE_CHECKING:
    from pathlib import Path


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

    assert f"fuser -v {tmp_path}" in refused.value.hint


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(CannotCreate), locked(tmp_path / "file" / "config.toml"):
        pass
