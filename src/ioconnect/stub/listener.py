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


class Listener:
    """Listens on `host`:`port` (0: any) from construction on, and accepts once started.

    Raises OSError, and OverflowError for a port that is none.

    `accepted(sock, peer)` runs in the accepting thread and owns the socket.
    """

    def __init__(self, host: str, port: int, *, name: str) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._sock.bind((host, port))
            self._sock.listen(BACKLOG)
        except (OSError, OverflowError):
            self._sock.close()
            raise
        self.host, self.port = self._sock.getsockname()[:2]
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._name = name

    def start(self, accepted: Callable[[socket.socket, tuple[str, int]], None]) -> None:
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

    def _accept(self, accepted: Callable[[socket.socket, tuple[str, int]], None]) -> None:
        while not self._closing.is_set():
            try:
                sock, peer = self._sock.accept()
            except TimeoutError:
                continue
            except OSError:  # closing, no descriptor left, or the connection went before it was accepted
                self._closing.wait(SLICE)
                continue
            accepted(sock, peer[:2])
