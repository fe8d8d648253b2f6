"""A database that speaks bytes: its nine-byte greeting chooses what it does, and it remembers how each talk ended.

The first byte is the behaviour, the other eight a big-endian count n.
`S`: sends n bytes, then EOF.
`K`: reads to EOF, then answers the count it read (8 bytes), their SHA-256 (32 bytes) and n bytes, then EOF.
`E`: echoes until EOF.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import struct
import threading
from typing import TYPE_CHECKING

from tests.rigs import processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

# An odd length, so that a piece in the wrong place never looks right.
BLOCK = random.Random(4254).randbytes(1_000_003)
PATIENCE = 60.0  # seconds that a silent socket is waited for


def pieces(count: int) -> Iterator[bytes]:
    """Yield `count` bytes, the same ones each time."""
    for _ in range(count // len(BLOCK)):
        yield BLOCK
    yield BLOCK[: count % len(BLOCK)]


def sha256_of(count: int) -> str:
    """Return the SHA-256 of what `pieces` yields."""
    digest = hashlib.sha256()
    for piece in pieces(count):
        digest.update(piece)
    return digest.hexdigest()


def exactly(connection: socket.socket, count: int) -> bytes:
    """Return the next `count` bytes; raises ConnectionError at an early end."""
    got = b""
    while len(got) < count:
        more = connection.recv(count - len(got))
        if not more:
            raise ConnectionError(f"the connection ended after {len(got)} of {count} bytes")
        got += more
    return got


def drain(connection: socket.socket) -> tuple[int, str]:
    """Read to EOF and return length and SHA-256 of what came."""
    count, digest, buffer = 0, hashlib.sha256(), bytearray(1 << 18)
    while got := connection.recv_into(buffer):
        count += got
        digest.update(memoryview(buffer)[:got])
    return count, digest.hexdigest()


def call(port: int, behaviour: bytes, count: int = 0) -> socket.socket:
    """Connect to 127.0.0.1 and say what the database is to do."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    try:
        connection.sendall(behaviour + struct.pack(">Q", count))
    except OSError:  # reset already, as by a forward whose session is going
        connection.close()
        raise
    return connection


def push(port: int, count: int, *, back: int = 0) -> tuple[int, str, tuple[int, str]]:
    """Send `count` bytes and EOF; return what the database says it got, and length and SHA-256 of what came back."""
    with call(port, b"K", back) as connection:
        for piece in pieces(count):
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
        (got,) = struct.unpack(">Q", exactly(connection, 8))
        return got, exactly(connection, 32).hex(), drain(connection)


def pull(port: int, count: int) -> tuple[int, str]:
    """Ask for `count` bytes; return length and SHA-256 of what came until EOF."""
    with call(port, b"S", count) as connection:
        return drain(connection)


class Database:
    """Listens on `port` of 127.0.0.1 while it is entered; a thread per connection."""

    def __init__(self, port: int = 0) -> None:
        self.port = port or processes.free_port()
        self.received = 0  # bytes after the greeting, over all connections
        self.endings: list[str] = []  # one per talk that is over: "eof", "reset", or "broken" in any other way
        self._listener: socket.socket | None = None
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Database:  # noqa: PYI034  typing.Self came with 3.11
        """Start to listen."""
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=512)
        self._run(self._accept, self._listener)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening, cut every connection and wait for the threads."""
        assert self._listener is not None
        for connection in [self._listener, *self._connections]:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    @property
    def accepted(self) -> int:
        """How many connections were accepted."""
        return len(self._connections)

    def _run(self, work: Callable[[socket.socket], None], connection: socket.socket) -> None:
        thread = threading.Thread(target=work, args=(connection,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the listener was shut down
            while True:
                connection, _ = listener.accept()
                self._connections.append(connection)
                self._run(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                self._talk(connection)
            except ConnectionResetError:
                self.endings.append("reset")
            except OSError:
                self.endings.append("broken")
            else:
                self.endings.append("eof")

    def _talk(self, connection: socket.socket) -> None:
        greeting = exactly(connection, 9)
        (count,) = struct.unpack(">Q", greeting[1:])
        if greeting[:1] == b"E":
            while more := connection.recv(1 << 16):
                self.received += len(more)
                connection.sendall(more)
            return
        if greeting[:1] == b"K":
            got, digest = self._read_to_eof(connection)
            connection.sendall(struct.pack(">Q", got) + bytes.fromhex(digest))
        for piece in pieces(count):
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
        if greeting[:1] == b"S":
            self._read_to_eof(connection)

    def _read_to_eof(self, connection: socket.socket) -> tuple[int, str]:
        count, digest, buffer = 0, hashlib.sha256(), bytearray(1 << 18)
        while got := connection.recv_into(buffer):
            count += got
            self.received += got  # good enough to wait for: exact with one sink at a time
            digest.update(memoryview(buffer)[:got])
        return count, digest.hexdigest()
