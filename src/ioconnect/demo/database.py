"""A small TCP service as the demo's database, and its client.

A request is one line: `ping` is answered with `pong`, `rows N` with N bytes.
"""

from __future__ import annotations

import hashlib
import socket
import socketserver
import threading
import time
from typing import TYPE_CHECKING

from ioconnect.tcp import connected_to_another

if TYPE_CHECKING:
    from typing_extensions import Self

TIMEOUT = 10.0  # seconds for a request, or for the next bytes of a reply
MAX_REQUEST = 100  # bytes
CHUNK = bytes(range(256)) * 256


class _Request(socketserver.StreamRequestHandler):
    """One connection with one request."""

    timeout = TIMEOUT

    def handle(self) -> None:
        word, _, count = self.rfile.readline(MAX_REQUEST).decode("ascii", "replace").strip().partition(" ")
        if word == "ping":
            self.wfile.write(b"pong\n")
        elif word == "rows" and count.isdecimal():
            for start in range(0, int(count), len(CHUNK)):
                self.wfile.write(CHUNK[: int(count) - start])


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = False  # so that server_close waits for them

    def handle_error(self, _request: object, _client: object) -> None:
        """Print nothing: the demo drops connections, which raises errors here."""


class Database:
    """The service on a free port of 127.0.0.1, as a context manager; on exit its threads have ended."""

    def __init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), _Request)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="demo-database"
        )

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def ping(port: int) -> float:
    """Send one request to 127.0.0.1:`port` and return its duration in seconds. Raises OSError if it fails."""
    started = time.monotonic()
    reply, _ = _request(port, b"ping\n")
    if reply != b"pong\n":
        raise ConnectionError("the connection ended without an answer")
    return time.monotonic() - started


def fetch(port: int, size: int) -> float:
    """Fetch `size` bytes and return the duration in seconds. Raises OSError unless they arrive unchanged."""
    started = time.monotonic()
    _, digest = _request(port, b"rows %d\n" % size)
    seconds = time.monotonic() - started
    expected = hashlib.sha256(CHUNK * (size // len(CHUNK)) + CHUNK[: size % len(CHUNK)]).digest()
    if digest != expected:
        raise ConnectionError("what arrived is not what was sent")
    return seconds


def _request(port: int, request: bytes) -> tuple[bytes, bytes]:
    """Return the first bytes of the reply, and its SHA-256."""
    first, digest = b"", hashlib.sha256()
    with connected_to_another(socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)) as connection:
        connection.sendall(request)
        while chunk := connection.recv(1 << 18):
            first = first or chunk
            digest.update(chunk)
    return first, digest.digest()
