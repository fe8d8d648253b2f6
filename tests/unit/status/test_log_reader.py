"""The log of another account: whatever that account made of it, reading takes a bounded time and memory."""

from __future__ import annotations

import os
import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from ioconnect.status import log_reader

if TYPE_CHECKING:
    from pathlib import Path

LINE = "2026-11-22T10:00:00.000Z INFO orders: connected"
MOST_SECONDS = 5.0  # on the processor; 3 GiB take a minute
MOST_MEMORY = 64 << 20


def sparse(path: Path, end: bytes) -> None:
    """Make a file of 3 GiB that takes no room on the disk: zeros, and then `end`."""
    with path.open("wb") as file:
        file.truncate(3 << 30)
        file.seek(0, os.SEEK_END)
        file.write(end)


@pytest.mark.parametrize("end", [b"", f"\n{LINE}\n".encode()], ids=["without a newline", "with lines at its end"])
def test_a_file_of_gigabytes_costs_neither_memory_nor_time(
    tmp_path: Path, end: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ioconnect.log"
    sparse(path, end)
    begin = time.process_time()
    lines = log_reader.last_lines(path, 100)
    taken = time.process_time() - begin
    monkeypatch.setattr(log_reader, "MAX_FILE_SIZE", 500_000)  # tracing makes each string ten times as dear
    tracemalloc.start()
    try:
        log_reader.last_lines(path, 1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert taken < MOST_SECONDS
    assert peak < MOST_MEMORY
    assert len(lines) == 100
    assert max(map(len, lines)) <= log_reader.MAX_LINE
    assert not end or lines[-1] == LINE


def test_following_reads_no_more_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "ioconnect.log"
    path.write_text(f"{LINE}\n")
    following = log_reader.follow(path, 1)
    assert next(following) == LINE
    sparse(path, f"\n{LINE} again\n".encode())

    begin = time.process_time()
    shown = next(line for line in following if line.startswith(LINE))
    following.close()  # type: ignore[attr-defined]

    assert shown == f"{LINE} again"
    assert time.process_time() - begin < MOST_SECONDS


def test_only_as_many_rotated_files_are_read_as_the_agent_keeps(tmp_path: Path) -> None:
    path = tmp_path / "ioconnect.log"
    path.write_text("0\n")
    for number in range(1, 20):
        path.with_name(f"{path.name}.{number}").write_text(f"{number}\n")

    assert log_reader.last_lines(path, 100) == ["5", "4", "3", "2", "1", "0"]


def test_a_line_that_is_not_complete_is_shown_once_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ioconnect.log"
    path.write_text(f"{LINE}\nhal")
    following = log_reader.follow(path, 10)
    assert next(following) == LINE
    with path.open("a") as file:
        file.write("f a line\n")

    assert next(following) == "half a line"


def test_a_line_of_the_agent_is_shown_whole_whatever_its_characters(tmp_path: Path) -> None:
    path = tmp_path / "ioconnect.log"
    path.write_text("é" * log_reader.MAX_LINE + "\n", encoding="utf-8")

    assert log_reader.last_lines(path, 1) == ["é" * log_reader.MAX_LINE]
