"""A TCP server that is no jumphost: it says and does what the test wants, once."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

PATIENCE = 20.0


class Stranger:
    """Listens on `port` of 127.0.0.1 while it is entered; runs `talk` with each connection, on one thread."""

    def __init__(self, talk: Callable[[socket.socket], None]) -> None:
        self._talk = talk
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Stranger:  # noqa: PYI034  typing.Self came with 3.11
        """Start to accept."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Accept no more and wait for the thread."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE)
        self._listener.close()
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # the listener was shut down
            while True:
                connection, _ = self._listener.accept()
                connection.settimeout(PATIENCE)
                with connection, contextlib.suppress(OSError):  # it has had enough
                    self._talk(connection)


def until_it_leaves(connection: socket.socket) -> None:
    """Read and say nothing until the other side ends the connection."""
    with contextlib.suppress(ConnectionResetError):
        while connection.recv(1 << 16):
            pass
