"""A listening TCP socket with its accepting thread, closed so that the port is free when `close` returns."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

BACKLOG = 512
SLICE = 0.2  # seconds; where shutdown does not wake accept (macOS), how soon a closing is noticed


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens on `host`:`port` (0: any).

    Raises OSError, and OverflowError for a port that is none.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except (OSError, OverflowError):
        sock.close()
        raise
    return sock


class Listener:
    """Listens on `host`:`port` from construction on, and accepts once started; raises as `listening_socket`.

    `accepted(sock)` runs in the accepting thread and owns the socket.
    """

    def __init__(self, host: str, port: int, *, name: str) -> None:
        self._sock = listening_socket(host, port)
        self.host, self.port = self._sock.getsockname()[:2]
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._name = name

    def start(self, accepted: Callable[[socket.socket], None]) -> None:
        """Accept from now on."""
        self._sock.settimeout(SLICE)
        self._thread = threading.Thread(target=self._accept, args=(accepted,), name=self._name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening; idempotent. Not from the accepting thread."""
        self._closing.set()
        with contextlib.suppress(OSError):  # macOS does not shut listening sockets down
            self._sock.shutdown(socket.SHUT_RDWR)
        if self._thread is not None:
            self._thread.join()
        self._sock.close()

    def _accept(self, accepted: Callable[[socket.socket], None]) -> None:
        while not self._closing.is_set():
            try:
                sock, _peer = self._sock.accept()
            except TimeoutError:
                continue
            except OSError:  # closing, no descriptor left, or the connection went before it was accepted
                self._closing.wait(SLICE)
                continue
            accepted(sock)
