"""A socket that is only memory, for the rooms that read and write one but decide nothing about it."""

from __future__ import annotations

import socket


class MemorySocket:
    """Gives what is in `to_read`, at most `piece` bytes a call; takes `room` bytes, then would block.

    `ended` says that after `to_read` comes the end instead of a wait. `taken` is what was sent.
    """

    def __init__(self, *, piece: int = 1 << 20) -> None:
        self.family = socket.AF_UNIX
        self.to_read = bytearray()
        self.piece = piece
        self.ended = False
        self.taken = bytearray()
        self.room = 1 << 40
        self.error: OSError | None = None
        self.timeout: float | None = None

    def recv_into(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self.to_read), self.piece)
        if not count and not self.ended:
            raise BlockingIOError
        buffer[:count] = self.to_read[:count]
        del self.to_read[:count]
        return count

    def recv(self, count: int) -> bytes:
        buffer = bytearray(count)
        return bytes(buffer[: self.recv_into(memoryview(buffer))])

    def send(self, data: memoryview) -> int:
        if self.error is not None:
            raise self.error
        count = min(len(data), self.room)
        if not count:
            raise BlockingIOError
        self.room -= count
        self.taken += data[:count]
        return count

    def settimeout(self, seconds: float) -> None:
        self.timeout = seconds

    def sendall(self, data: memoryview) -> None:
        self.taken += data
