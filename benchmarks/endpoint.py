"""The fake database: as fast as Python allows, a process of its own (`python -m benchmarks.endpoint`).

The first 9 bytes of a connection say what it does: `S` and a count, send so many bytes; `K`, take everything and
answer the count; `E`, echo. The bulk kinds are served by a second process, so that bulk traffic and an echo beside it
meet in the tunnel and not in one interpreter here. Prints its port, ends with its standard input.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
import threading

from benchmarks.processes import LOOPBACK

HEADER = struct.Struct(">cQ")
COUNT = struct.Struct(">Q")
SOURCE, SINK, ECHO = b"S", b"K", b"E"
BLOCK = bytes(256 << 10)


def main() -> None:
    """Serve until standard input ends."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:  # no thread has been started yet
        ours.close()
        _serve_bulk(theirs)
        os._exit(0)
    theirs.close()
    listener = socket.create_server((LOOPBACK, 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=_accept, args=(listener, ours), daemon=True).start()
    sys.stdin.read()


def _accept(listener: socket.socket, bulk: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_serve, args=(connection, bulk), daemon=True).start()


def _serve(connection: socket.socket, bulk: socket.socket) -> None:
    """Read what is wanted; echo here, hand everything else to the bulk process."""
    with connection, contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        header = connection.recv(HEADER.size, socket.MSG_WAITALL)
        if len(header) < HEADER.size:
            return
        if header[:1] == ECHO:
            while received := connection.recv(64 << 10):
                connection.sendall(received)
        else:
            socket.send_fds(bulk, [header], [connection.fileno()])


def _serve_bulk(orders: socket.socket) -> None:
    """Serve the connections that come with their headers, a thread each, until the other process is gone."""
    while True:
        header, descriptors, _, _ = socket.recv_fds(orders, HEADER.size, 1)
        if not descriptors:
            return
        connection = socket.socket(fileno=descriptors[0])
        threading.Thread(target=_transfer, args=(connection, *HEADER.unpack(header)), daemon=True).start()


def _transfer(connection: socket.socket, kind: bytes, count: int) -> None:
    with connection, contextlib.suppress(OSError):
        if kind == SOURCE:
            block = memoryview(BLOCK)
            while count > 0:
                connection.sendall(block[:count])
                count -= min(count, len(block))
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)
        else:
            buffer, total = bytearray(len(BLOCK)), 0
            while received := connection.recv_into(buffer):
                total += received
            connection.sendall(COUNT.pack(total))


if __name__ == "__main__":
    main()
