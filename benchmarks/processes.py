"""Starting and ending the benchmark's own processes, and waiting for what they promise, never without a deadline."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

LOOPBACK = "127.0.0.1"
START_SECONDS = 30.0
STOP_SECONDS = 10.0
_POLL_SECONDS = 0.02
# Below the ports that the kernel gives to outgoing connections, so that no client takes one between look and use.
_PORTS = range(15000, 32000)
_handed_out: set[int] = set()


class BenchmarkFailed(Exception):
    """Something did not do its part; the text says what."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program to start, and what its environment has beyond ours."""

    argv: Sequence[str]
    env: Mapping[str, str]


def free_port() -> int:
    """A TCP port on loopback that nobody listens on, another one each time."""
    for port in random.sample(_PORTS, 1000):
        if port in _handed_out:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            _handed_out.add(port)
            return port
    raise BenchmarkFailed("no free TCP port on loopback")


def start(command: Command, log: Path) -> subprocess.Popen[bytes]:
    """Start it with its output in `log`; proxies and settings of ours in the environment do not reach it."""
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith("IOCONNECT_")
    }
    with log.open("ab") as output:
        return subprocess.Popen(
            command.argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env | dict(command.env)
        )


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, insist after `STOP_SECONDS`, and collect it."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def companion(module: str, *arguments: str) -> Iterator[str]:
    """Run one of this package's processes; yields the line that it says when it is ready.

    A companion ends when its standard input does, so it never outlives us.
    """
    argv = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise BenchmarkFailed(f"benchmarks.{module} ended before it was ready")
            yield line.strip()
        finally:
            process.stdin.close()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_until_listening(port: int, processes: Sequence[subprocess.Popen[bytes]], log: Path) -> None:
    """Wait until the port on loopback accepts; raises BenchmarkFailed with the log's end if it does not."""
    wait_until(
        lambda: _accepts(port) or any(process.poll() is not None for process in processes),
        lambda: f"nothing listens on port {port}:\n{_end_of(log)}",
    )
    if not _accepts(port):
        raise BenchmarkFailed(f"it ended instead of listening on port {port}:\n{_end_of(log)}")


def wait_until(condition: Callable[[], bool], complaint: Callable[[], str]) -> None:
    """Wait up to `START_SECONDS` for the condition; raises BenchmarkFailed with the complaint."""
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise BenchmarkFailed(complaint())
        time.sleep(_POLL_SECONDS)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=5).close()
    except OSError:
        return False
    return True


def _end_of(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-1500:]
