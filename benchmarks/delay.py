"""A long link: a loopback TCP relay that delays what passes, each way, without loss and with endless bandwidth.

`python -m benchmarks.delay TARGET_PORT ONE_WAY_MILLISECONDS` prints its port, ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections import deque

from benchmarks.processes import LOOPBACK

_READ_BYTES = 256 << 10
_ON_THE_WAY_BYTES = 64 << 20  # far beyond bandwidth times delay of anything measured here


class Direction:
    """One way of one connection: what it reads arrives `delay` seconds later, in order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
        self._reader, self._writer, self._delay = reader, writer, delay
        self._parcels: deque[tuple[float, bytes]] = deque()
        self._size = 0
        self._changed = asyncio.Condition()

    async def carry(self) -> None:
        """Run until the stream's end has arrived."""
        await asyncio.gather(self._take(), self._deliver())

    async def _take(self) -> None:
        now = asyncio.get_running_loop().time
        while True:
            parcel = await self._reader.read(_READ_BYTES)
            async with self._changed:
                self._parcels.append((now() + self._delay, parcel))
                self._size += len(parcel)
                self._changed.notify_all()
                if not parcel:
                    return
                await self._changed.wait_for(lambda: self._size < _ON_THE_WAY_BYTES)

    async def _deliver(self) -> None:
        now = asyncio.get_running_loop().time
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._parcels))
                due, parcel = self._parcels.popleft()
                self._size -= len(parcel)
                self._changed.notify_all()
            if due > now():
                await asyncio.sleep(due - now())
            if not parcel:
                self._writer.write_eof()
                return
            self._writer.write(parcel)
            await self._writer.drain()


async def _serve(target_port: int, delay: float) -> None:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward_reader, onward_writer = await asyncio.open_connection(LOOPBACK, target_port, limit=1 << 20)
        for end in (writer, onward_writer):
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A reset of one side ends both; cancelled is what we are when standard input ends.
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(
                Direction(reader, onward_writer, delay).carry(), Direction(onward_reader, writer, delay).carry()
            )
        for end in (writer, onward_writer):
            end.close()

    server = await asyncio.start_server(relay, LOOPBACK, 0, limit=1 << 20)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2]) / 1e3))
