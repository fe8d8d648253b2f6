"""The ssh and autossh processes that hold a tunnel of old: which they are, and their end, if somebody agrees."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ioconnect.errors import SystemRefused
from ioconnect.installers.apply import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ioconnect.config.configuration import Tunnel

STOPPED_WITHIN = 10.0  # seconds
POLL = 0.05  # seconds
PROGRAMS = ("autossh", "ssh")  # in the order in which they are told: autossh starts its ssh again


@dataclass(frozen=True, slots=True)
class Process:
    """A process of a tunnel of old."""

    pid: int
    program: str
    words: tuple[str, ...]


def holding(tunnel: Tunnel, processes: Path) -> tuple[Process, ...]:
    """Return the processes that hold the tunnel, each autossh before any ssh; none where none can be seen."""
    held = [process for process in _all(processes) if _holds(process.words, tunnel)]
    return tuple(sorted(held, key=lambda process: PROGRAMS.index(process.program)))


def stop(tunnel: Tunnel, processes: Path, *, within: float = STOPPED_WITHIN) -> None:
    """Tell them to end, and wait until they have, at most `within` seconds. Raises SystemRefused."""
    end = time.monotonic() + within
    told: set[int] = set()
    while running := holding(tunnel, processes):
        for process in running:
            if process.pid not in told:
                told.add(process.pid)
                _terminate(process)
        if time.monotonic() > end:
            pids = ", ".join(str(process.pid) for process in running)
            raise SystemRefused(
                f"pid {pids} did not end within {within:g} s",
                hint="See what starts or holds it: ps -f -p PID; kill -9 PID ends it.",
            )
        time.sleep(POLL)


def _holds(words: Sequence[str], tunnel: Tunnel) -> bool:
    """Say whether a process's words ask for this tunnel.

    Not read as options: autossh blanks its own in place, and ps(1) does not show where a word ends.
    """
    said = " ".join(words)
    target = re.escape(tunnel.target.host)
    forward = rf"(?<![0-9]){tunnel.listen_port}[:\s]\[?{target}\]?:{tunnel.target.port}(?![0-9])"
    return tunnel.endpoint.host.lower() in said.lower() and re.search(forward, said) is not None


def _all(processes: Path) -> Iterator[Process]:
    listed = _listed_by_kernel(processes) if processes.is_dir() else _listed_by_ps()
    for pid, words in listed:
        program = words[0].rpartition("/")[2] if words else ""
        if program in PROGRAMS and pid != os.getpid():
            yield Process(pid, program, tuple(words))


def _listed_by_kernel(processes: Path) -> Iterator[tuple[int, list[str]]]:
    for entry in processes.iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):  # it ended meanwhile
                words = (entry / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
                yield int(entry.name), [word for word in words if word]


def _listed_by_ps() -> Iterator[tuple[int, list[str]]]:
    try:
        said = run(("ps", "-A", "-ww", "-o", "pid=", "-o", "args="), deadline=20).out
    except SystemRefused:  # no ps: nothing can be seen
        return
    for line in said.decode("utf-8", "replace").splitlines():
        pid, _, command = line.strip().partition(" ")
        yield int(pid), command.split()


def _terminate(process: Process) -> None:
    try:
        os.kill(process.pid, signal.SIGTERM)
    except ProcessLookupError:
        pass  # it ended by itself
    except OSError as error:
        raise SystemRefused(
            f"cannot stop {process.program} (pid {process.pid}): {error.strerror}",
            hint=f"Stop it as its owner, or: sudo kill {process.pid}",
        ) from error
