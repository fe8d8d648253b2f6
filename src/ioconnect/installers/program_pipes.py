"""Writes a program's input and reads its outputs, within a time and a size: what it prints may be anybody's."""

from __future__ import annotations

import os
import select
import selectors
import time
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

CHUNK = 1 << 16  # bytes of one read


class OutputTooLarge(Exception):
    """A program prints more than it may."""


def transfer(
    stdin: IO[bytes], outputs: Sequence[IO[bytes]], content: bytes, *, limit: int, end: float
) -> list[bytes]:
    """Write `content` to a program's standard input, close that, and return the outputs once they are closed.

    Raises OutputTooLarge beyond `limit` bytes of one, and TimeoutError at the time `end` (time.monotonic).
    """
    rest = memoryview(content)
    received = [bytearray() for _ in outputs]
    with selectors.DefaultSelector() as pipes:
        pipes.register(stdin, selectors.EVENT_WRITE)
        for pipe, buffer in zip(outputs, received, strict=True):
            pipes.register(pipe, selectors.EVENT_READ, buffer)
        while pipes.get_map():
            for key, _ in pipes.select(max(end - time.monotonic(), 0)):
                if key.fileobj is stdin:
                    rest = rest[_written(stdin, rest) :]
                    if not rest:
                        pipes.unregister(stdin)
                        stdin.close()
                elif not _read(key.fd, key.data, limit):
                    pipes.unregister(key.fileobj)
            if time.monotonic() >= end:
                raise TimeoutError
    return [bytes(buffer) for buffer in received]


def _written(pipe: IO[bytes], rest: memoryview) -> int:
    """Write as much as never blocks (pipe(7)), and return how much; all if the program reads no more."""
    try:
        return os.write(pipe.fileno(), rest[: select.PIPE_BUF])
    except BrokenPipeError:
        return len(rest)


def _read(descriptor: int, buffer: bytearray, limit: int) -> bool:
    """Read what is there; return whether more may come. Raises OutputTooLarge."""
    data = os.read(descriptor, CHUNK)
    buffer += data
    if len(buffer) > limit:
        raise OutputTooLarge
    return bool(data)
