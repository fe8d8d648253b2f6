"""A service that speaks first and then sends back what it gets: quick to tell from every database."""

from __future__ import annotations

import socket
import socketserver
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

GREETING = b"220 no database\r\n"


class _Talk(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.settimeout(30)
        self.request.sendall(GREETING)
        while got := self.request.recv(4096):
            self.request.sendall(got)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = False  # so that server_close waits for them
    allow_reuse_address = True

    def handle_error(self, _request: object, _client: object) -> None:
        """Clients come and go as they like."""


class Greeter:
    """The service on 127.0.0.1 (port 0: a free one), while the context lasts."""

    def __init__(self, port: int = 0) -> None:
        self._server = _Server(("127.0.0.1", port), _Talk)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def answers_through(port: int, *, deadline: float = 10) -> bool:
    """Say whether a Greeter is at the other end of this port of 127.0.0.1."""
    with socket.create_connection(("127.0.0.1", port), timeout=deadline) as connection:
        connection.sendall(b"select 1")
        heard = b""
        while len(heard) < len(GREETING) + 8 and (got := connection.recv(4096)):
            heard += got
    return heard == GREETING + b"select 1"
