"""Listening TCP sockets, the thread that accepts on one, and what starts and stops."""

from __future__ import annotations

import socket
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from ioconnect.ssh.loop import READ, Loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

BACKLOG = 512


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a non-blocking socket that listens on `host`:`port` (0: any).

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
    sock.setblocking(False)
    return sock


class Server(ABC):
    """Something that runs from `start` to `stop`; also a context manager."""

    @abstractmethod
    def start(self) -> None:
        """Listen and serve."""

    @abstractmethod
    def stop(self) -> None:
        """End everything and wait for all threads; idempotent."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Acceptor(threading.Thread):
    """Accepts on `host`:`port` from `start` to `stop`, listens from construction on; raises as `listening_socket`.

    `accepted(sock)` is called on this thread and owns the socket.
    """

    def __init__(self, host: str, port: int, accepted: Callable[[socket.socket], None]) -> None:
        super().__init__(name="stub-acceptor", daemon=True)
        self._sock = listening_socket(host, port)
        self.host, self.port = self._sock.getsockname()[:2]
        self._accepted = accepted
        self._loop = Loop()
        self._loop.watch(self._sock.fileno(), READ, self._accept)
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Stop listening: the port is free when this returns. Not from this thread."""
        self._loop.post(self._stopping.set)
        self.join()

    def run(self) -> None:
        """Accept until it is stopped."""
        while not self._stopping.is_set():
            self._loop.run_once()
        self._sock.close()
        self._loop.close()

    def _accept(self, _mask: int) -> None:
        try:
            sock, _peer = self._sock.accept()
        except OSError:  # no descriptor is left, or the connection was reset before it was accepted
            return
        self._accepted(sock)
