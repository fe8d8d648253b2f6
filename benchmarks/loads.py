"""The loads: each drives one port as the pipeline would and returns what it saw, by measure (see measures.py).

Every socket has a deadline, every load a bound in bytes or in seconds.
"""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.endpoint import BLOCK, COUNT, ECHO, HEADER, SINK, SOURCE
from benchmarks.processes import LOOPBACK, BenchmarkFailed, companion

if TYPE_CHECKING:
    from collections.abc import Callable

    Figures = dict[str, float]
    CpuClock = Callable[[], float]  # CPU seconds that the contestant has used so far

DEADLINE_SECONDS = 60.0
MEGABYTE, GIGABYTE = 1e6, 1e9
_PING = bytes(64)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much each load moves; `*_seconds` bound what is counted in round trips."""

    bulk_bytes: int = 512 << 20
    far_bytes: int = 192 << 20
    pings: int = 2000
    ping_seconds: float = 3.0
    connections: int = 300
    connection_seconds: float = 4.0
    pgbench_seconds: int = 5
    idle_seconds: float = 60.0


QUICK = Sizes(
    bulk_bytes=96 << 20,
    far_bytes=48 << 20,
    pings=500,
    ping_seconds=1.0,
    connections=100,
    connection_seconds=1.0,
    pgbench_seconds=1,
    idle_seconds=10.0,
)


def connect(port: int, kind: bytes, count: int = 0) -> socket.socket:
    """A connection to the endpoint that has been told what to do."""
    connection = socket.create_connection((LOOPBACK, port), timeout=DEADLINE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(HEADER.pack(kind, count))
    return connection


def download(port: int, size: int) -> None:
    """Take `size` bytes and the end of the stream; raises BenchmarkFailed if there are fewer or more."""
    buffer, received = bytearray(len(BLOCK)), 0
    with connect(port, SOURCE, size) as connection:
        while count := connection.recv_into(buffer):
            received += count
    if received != size:
        raise BenchmarkFailed(f"{received} of {size} bytes arrived")


def upload(port: int, size: int) -> None:
    """Send `size` bytes, half-close, and wait for the endpoint's count of them."""
    block, left = memoryview(BLOCK), size
    with connect(port, SINK) as connection:
        while left > 0:
            connection.sendall(block[:left])
            left -= min(left, len(block))
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(COUNT.size, socket.MSG_WAITALL)
    if answer != COUNT.pack(size):
        raise BenchmarkFailed("the answer after the half-close was lost or wrong")


def bulk(transfer: Callable[[int, int], None], *, port: int, connections: int, size: int) -> float:
    """Move `size` bytes over so many connections at once; returns the seconds until the last is done."""
    with ThreadPoolExecutor(connections) as pool:
        began = time.perf_counter()
        for done in [pool.submit(transfer, port, size // connections) for _ in range(connections)]:
            done.result()
        return time.perf_counter() - began


def bulk_figures(prefix: str, port: int, cpu: CpuClock, size: int) -> Figures:
    """Throughput and CPU of one bulk load; `prefix` is `out` or `in`, and the number of connections."""
    transfer, connections = (download, int(prefix[3:])) if prefix.startswith("out") else (upload, int(prefix[2:]))
    used = cpu()
    seconds = bulk(transfer, port=port, connections=connections, size=size)
    return {prefix: size / MEGABYTE / seconds, f"{prefix}_cpu": (cpu() - used) / (size / GIGABYTE)}


def ping_pong(port: int, sizes: Sizes) -> tuple[float, float]:
    """Round trips of 64 bytes on one connection: the median and the 99th percentile in microseconds."""
    times: list[float] = []
    end = time.perf_counter() + sizes.ping_seconds
    with connect(port, ECHO) as connection:
        while len(times) < sizes.pings and time.perf_counter() < end:
            began = time.perf_counter()
            connection.sendall(_PING)
            if len(connection.recv(len(_PING), socket.MSG_WAITALL)) != len(_PING):
                raise BenchmarkFailed("an echo was cut short")
            times.append(time.perf_counter() - began)
    times.sort()
    return times[len(times) // 2] * 1e6, times[int(len(times) * 0.99)] * 1e6


def ping_figures(prefix: str, port: int, sizes: Sizes) -> Figures:
    """Ping-pong alone (`ping`) or beside so many bulk downloads (`ping1`, `ping8`)."""
    if prefix == "ping":
        median, tail = ping_pong(port, sizes)
    else:
        with companion("flood", str(port), prefix.removeprefix("ping")):
            median, tail = ping_pong(port, sizes)
    return {f"{prefix}_p50": median, f"{prefix}_p99": tail}


def churn_figures(port: int, cpu: CpuClock, sizes: Sizes) -> Figures:
    """Connections one after another, each with one byte there and back: per second, and CPU milliseconds each."""
    used, began, made = cpu(), time.perf_counter(), 0
    while made < sizes.connections and time.perf_counter() - began < sizes.connection_seconds:
        with connect(port, ECHO) as connection:
            connection.sendall(b"x")
            if connection.recv(1) != b"x":
                raise BenchmarkFailed("a new connection did not answer")
        made += 1
    return {"churn": made / (time.perf_counter() - began), "churn_cpu": (cpu() - used) / made * 1e3}
