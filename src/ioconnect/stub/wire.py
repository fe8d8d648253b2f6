"""The TCP connection under one session of the stand-in jumphost, in the shape that paramiko expects of a socket.

paramiko writes while it holds locks that its reading thread needs, so two of its ends can block each other for
ever. Here `send` only queues and never blocks; one writing thread owns the way out, and those who produce much ask
`wait_for_room` first. The same place can hold all traffic back (freeze) and cut the connection with a reset.

Threads: `recv` belongs to paramiko's thread; everything else may be called from any.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import Any

SLICE = 0.1  # seconds; how soon a blocked call notices that it is no longer wanted
QUEUE_LIMIT = 1 << 20  # bytes; beyond it `wait_for_room` waits
READ_SIZE = 1 << 18
FLUSH_DEADLINE = 1.0  # seconds that a polite close gives the peer to take what is queued
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close sends RST


def set_reset(sock: socket.socket) -> None:
    """Make the coming close of `sock` a reset: what was cut must not look complete."""
    with contextlib.suppress(OSError):  # the peer was faster
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


class Wire:
    """One accepted connection. `allowance` bounds in bytes and `grace` in seconds what comes before the sign-in."""

    def __init__(self, sock: socket.socket, *, grace: float = 120.0, allowance: int = 1 << 18) -> None:
        sock.settimeout(SLICE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._peer = sock.getpeername()
        self._changed = threading.Condition()
        self._outbound = bytearray()
        self._in_flight = 0
        self._inbound = memoryview(b"")
        self._frozen = False
        self._close_by: float | None = None
        self._aborted = False
        self._reading = False
        self._allowance: int | None = allowance
        self._grace_ends = time.monotonic() + grace
        self._writer = threading.Thread(target=self._write, name="stub-writer", daemon=True)
        self._writer.start()

    # what paramiko asks of a socket

    def recv(self, size: int) -> bytes:
        """Return up to `size` bytes, b"" at the end; raises TimeoutError after a tenth of a second without any."""
        if not self._inbound:
            self._fill()
        with self._changed:
            if self._frozen and not self._leaving:
                self._changed.wait(SLICE)
                raise TimeoutError
        chunk, self._inbound = self._inbound[:size], self._inbound[size:]
        return bytes(chunk)

    def send(self, data: bytes) -> int:
        """Queue all of `data`; never blocks. Raises EOFError once the connection is being closed."""
        with self._changed:
            if self._leaving:
                raise EOFError
            self._outbound += data
            self._changed.notify_all()
        return len(data)

    def close(self) -> None:
        """Let the writer deliver what is queued (for a second at most) and close. Returns at once, idempotent."""
        with self._changed:
            if self._close_by is None:
                self._close_by = time.monotonic() + FLUSH_DEADLINE
                self._changed.notify_all()

    def settimeout(self, timeout: float | None) -> None:
        """Do nothing: paramiko asks for the tenth of a second that is ours anyway."""

    def getpeername(self) -> Any:
        """Return the peer's address as it was when the connection was accepted."""
        return self._peer

    @property
    def _closed(self) -> bool:
        """Whether it is being closed, under the name that Python's own sockets have and paramiko reads."""
        return self._leaving

    # what the session asks of it

    def signed_in(self) -> None:
        """Lift the limits that hold before a peer has shown who it is."""
        self._allowance = None

    def wait_for_room(self) -> None:
        """Block until little is queued, or the connection goes."""
        with self._changed:
            while len(self._outbound) + self._in_flight > QUEUE_LIMIT and not self._leaving:
                self._changed.wait(1.0)

    def freeze(self, frozen: bool) -> None:  # noqa: FBT001  named after the state that it sets
        """Stop (or let go on) all reading and writing; the TCP connection stays as it is."""
        with self._changed:
            self._frozen = frozen
            self._changed.notify_all()

    @property
    def frozen(self) -> bool:
        """Whether traffic is held back."""
        return self._frozen

    def wait_thawed(self) -> None:
        """Block while frozen, unless the connection goes."""
        with self._changed:
            while self._frozen and not self._leaving:
                self._changed.wait(1.0)

    def abort(self) -> None:
        """Cut the connection with a reset, within a tenth of a second."""
        with self._changed:
            self._aborted = True
            self._changed.notify_all()

    def join(self, timeout: float) -> None:
        """Wait for the writing thread after `close` or `abort`."""
        self._writer.join(timeout)

    @property
    def _leaving(self) -> bool:
        return self._aborted or self._close_by is not None

    def _fill(self) -> None:
        """Read once from the socket. Raises TimeoutError, OSError, or EOFError when the limits are reached."""
        with self._changed:
            if self._leaving:
                raise EOFError
            if self._allowance is not None and (self._allowance <= 0 or time.monotonic() > self._grace_ends):
                raise EOFError
            if self._frozen:
                self._changed.wait(SLICE)
                raise TimeoutError
            self._reading = True
        try:
            data = self._sock.recv(READ_SIZE)
        finally:
            with self._changed:
                self._reading = False
                self._changed.notify_all()
        if self._allowance is not None:
            self._allowance -= len(data)
        self._inbound = memoryview(data)

    def _write(self) -> None:
        """Be the writing thread: deliver the queue, then close the socket."""
        try:
            while chunk := self._next_chunk():
                self._deliver(memoryview(chunk))
                with self._changed:
                    self._in_flight = 0
                    self._changed.notify_all()
        except OSError:
            pass  # the peer is gone; its reading thread learns it from the socket
        finally:
            self._finish()

    def _next_chunk(self) -> bytearray | None:
        with self._changed:
            while not self._aborted:
                if self._close_by is not None and (self._frozen or not self._outbound):
                    return None
                if self._outbound and not self._frozen:
                    chunk, self._outbound = self._outbound, bytearray()
                    self._in_flight = len(chunk)
                    return chunk
                self._changed.wait(1.0)
        return None

    def _deliver(self, chunk: memoryview) -> None:
        while chunk:
            with self._changed:
                if self._aborted or (self._close_by is not None and time.monotonic() > self._close_by):
                    raise OSError("no longer wanted")
                if self._frozen:
                    if self._close_by is not None:
                        raise OSError("no longer wanted")
                    self._changed.wait(SLICE)
                    continue
            with contextlib.suppress(TimeoutError):
                chunk = chunk[self._sock.send(chunk) :]

    def _finish(self) -> None:
        """Close the socket once nobody is inside a call on it, so that its number cannot be somebody else's."""
        with self._changed:
            if self._close_by is None:
                self._close_by = time.monotonic()
            self._changed.notify_all()
        if self._aborted:
            set_reset(self._sock)
        else:
            with contextlib.suppress(OSError):  # already disconnected
                self._sock.shutdown(socket.SHUT_RDWR)
        with self._changed:
            self._changed.wait_for(lambda: not self._reading, timeout=5.0)
        self._sock.close()
