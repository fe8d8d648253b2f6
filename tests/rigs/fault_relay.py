"""A TCP relay on loopback that can do to a connection what bad networks and broken middleboxes do.

Threads and blocking sockets: two pumps per connection. Every fault may be set at any time, from any thread, and holds
for live connections as well as for those to come.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING

from tests.rigs import processes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

RST_ON_CLOSE = struct.pack("ii", 1, 0)


class FaultRelay:
    """Listens on `port` of 127.0.0.1 while it is entered and passes everything on to `target_port`.

    `delay` is in seconds, each way. With `trickle` (seconds) everything goes one byte at a time, so many seconds
    apart, once `unharmed` bytes of a connection's direction have passed. `garbage` is said to the client before
    anything that the target says.
    """

    def __init__(self, target_port: int) -> None:
        self.port = processes.free_port()
        self.target_port = target_port
        self.delay = 0.0
        self.trickle: float | None = None
        self.unharmed = 0
        self.garbage = b""
        self.accepted = 0
        self._over = threading.Event()
        self._passing = threading.Event()
        self._passing.set()
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None

    def __enter__(self) -> FaultRelay:  # noqa: PYI034  typing.Self came with 3.11
        self.listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._passing.set()
        self.refuse()
        self.reset()
        for thread in self._threads:
            thread.join(10)

    # --- faults

    def listen(self) -> None:
        """Accept connections (again)."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._run(self._accept, self._listener)

    def refuse(self) -> None:
        """Accept no more connections: who tries is refused."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def black_hole(self) -> None:
        """Swallow everything from now on; nobody is told."""
        self._passing.clear()

    def heal(self) -> None:
        """End `black_hole`, `delay`, `trickle` and `garbage`; what was swallowed arrives late."""
        self.delay, self.trickle, self.garbage = 0.0, None, b""
        self._passing.set()

    def cut(self) -> None:
        """End every connection in good order (FIN), whatever was under way."""
        for pair in self._take_pairs():
            for sock in pair:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """End every connection with a RST to both sides."""
        for pair in self._take_pairs():
            for sock in pair:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
                    sock.shutdown(socket.SHUT_RD)  # wakes the pump, which closes

    def live(self) -> int:
        """Return how many connections there are."""
        with self._lock:
            return len(self._pairs)

    # --- threads

    def _take_pairs(self) -> list[tuple[socket.socket, socket.socket]]:
        with self._lock:
            pairs, self._pairs = self._pairs, []
        return pairs

    def _run(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # shut down
            while True:
                client, _ = listener.accept()
                self.accepted += 1
                self._run(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with (
            client,
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.target_port)) as target,
        ):
            for sock in (client, target):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                if self._over.is_set():  # who took the pairs to end them did not see this one
                    return
                self._pairs.append((client, target))
            if self.garbage:
                client.sendall(self.garbage)
            outward = threading.Thread(target=self._pump, args=(client, target), daemon=True)
            outward.start()
            self._pump(target, client)
            outward.join()
            with self._lock:
                self._pairs = [pair for pair in self._pairs if pair[0] is not client]

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self._passing.wait()
                self._over.wait(self.delay)
                for piece in self._pieces(data, passed):
                    sink.sendall(piece)
                passed += len(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _pieces(self, data: bytes, passed: int) -> Iterator[bytes]:
        whole = len(data) if self.trickle is None else max(0, min(len(data), self.unharmed - passed))
        if whole:
            yield data[:whole]
        for at in range(whole, len(data)):
            if self.trickle is not None:
                self._over.wait(self.trickle)
            yield data[at : at + 1]
