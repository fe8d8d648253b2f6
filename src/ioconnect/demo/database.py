"""A tiny service as the demo's database, and the pipeline that asks it.

A question is one line. `ping` is answered with `pong`, `rows N` with N bytes.
"""

from __future__ import annotations

import hashlib
import socket
import socketserver
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

PATIENCE = 10.0  # seconds for a question, or for the next bytes of an answer
LONGEST_QUESTION = 100  # bytes
PIECE = bytes(range(256)) * 256


class _Conversation(socketserver.StreamRequestHandler):
    """One connection: a question, its answer, the end."""

    timeout = PATIENCE

    def handle(self) -> None:
        word, _, count = self.rfile.readline(LONGEST_QUESTION).decode("ascii", "replace").strip().partition(" ")
        if word == "ping":
            self.wfile.write(b"pong\n")
        elif word == "rows" and count.isdecimal():
            for start in range(0, int(count), len(PIECE)):
                self.wfile.write(PIECE[: int(count) - start])


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = False  # so that server_close waits for them

    def handle_error(self, _request: object, _client: object) -> None:
        """Say nothing: the demo cuts the link, and a cut connection is an error to the service at its end."""


class Database:
    """The service on a free port of 127.0.0.1, while the context lasts; afterwards no thread of it is left."""

    def __init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), _Conversation)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="demo-database"
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def ping(port: int) -> float:
    """Ask once through 127.0.0.1:`port` and return the seconds until the answer. Raises OSError if there is none."""
    begun = time.monotonic()
    answer, _ = _ask(port, b"ping\n")
    if answer != b"pong\n":
        raise ConnectionError("the connection ended without an answer")
    return time.monotonic() - begun


def fetch(port: int, size: int) -> float:
    """Fetch `size` bytes and return the seconds that it took. Raises OSError unless all arrive as they were sent."""
    begun = time.monotonic()
    _, digest = _ask(port, b"rows %d\n" % size)
    seconds = time.monotonic() - begun
    expected = hashlib.sha256(PIECE * (size // len(PIECE)) + PIECE[: size % len(PIECE)]).digest()
    if digest != expected:
        raise ConnectionError("what arrived is not what was sent")
    return seconds


def _ask(port: int, question: bytes) -> tuple[bytes, bytes]:
    """Return the first bytes of the answer, and the SHA-256 of all of it."""
    first, digest = b"", hashlib.sha256()
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(question)
        while piece := connection.recv(1 << 18):
            first = first or piece
            digest.update(piece)
    return first, digest.digest()
