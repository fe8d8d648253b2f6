"""A real Redis on a free port of 127.0.0.1, without persistence."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.rigs import processes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def version() -> str:
    """Return what the installed server says its version is."""
    program = processes.need_program("redis-server", package="redis-server")
    return processes.checked([program, "--version"]).partition("v=")[2].split()[0]


@contextlib.contextmanager
def running(folder: Path, *settings: str) -> Iterator[int]:
    """Run redis-server with further settings, such as `--requirepass`, `secret`; gives its port."""
    program = processes.need_program("redis-server", package="redis-server")
    port = processes.free_port()
    argv = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder), *settings]
    log = folder / "redis.log"
    process = processes.start(argv, log=log)
    try:
        processes.wait_until(
            lambda: processes.listens(port), what="Redis listens", instead=lambda: log.read_text(errors="replace")
        )
        yield port
    finally:
        processes.end(process)
