"""Bulk traffic in the background, from a process of its own: `python -m benchmarks.flood PORT CONNECTIONS`.

Every connection downloads without end. Says "flowing" when all of them do, ends with its standard input.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING

from benchmarks.endpoint import BLOCK, SOURCE
from benchmarks.loads import DEADLINE_SECONDS, connect

if TYPE_CHECKING:
    import socket

_ENDLESS = 1 << 62


def main() -> None:
    """Download until standard input ends."""
    port, connections = int(sys.argv[1]), int(sys.argv[2])
    flowing = threading.Barrier(connections + 1, timeout=DEADLINE_SECONDS)
    for _ in range(connections):
        threading.Thread(target=_download, args=(connect(port, SOURCE, _ENDLESS), flowing), daemon=True).start()
    flowing.wait()
    print("flowing", flush=True)
    sys.stdin.read()


def _download(connection: socket.socket, flowing: threading.Barrier) -> None:
    buffer = bytearray(len(BLOCK))
    with connection, contextlib.suppress(OSError, threading.BrokenBarrierError):
        connection.recv_into(buffer)
        flowing.wait()
        while connection.recv_into(buffer):
            pass


if __name__ == "__main__":
    main()
