"""Finds the ssh and autossh processes of an old tunnel, and stops them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ioconnect.config.addresses import SocketPath
from ioconnect.custody.processes import signalling
from ioconnect.errors import SystemRefused
from ioconnect.installers.programs import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from ioconnect.config.configuration import Tunnel

STOP_TIMEOUT = 10.0  # seconds
POLL_INTERVAL = 0.05  # seconds
MAX_ARGUMENTS = 128 << 10  # bytes read of a command line; the forward is in the first ones
PROGRAMS = ("autossh", "ssh")  # in the order in which they are stopped: autossh restarts its ssh


@dataclass(frozen=True, slots=True)
class Process:
    """A process of an old tunnel."""

    pid: int
    program: str
    arguments: tuple[str, ...]


def processes_of(tunnel: Tunnel, processes: Path) -> tuple[Process, ...]:
    """Return the tunnel's processes, autossh before ssh; none if processes cannot be listed."""
    held = [process for process in _running(processes) if _matches(process.arguments, tunnel)]
    return tuple(sorted(held, key=lambda process: PROGRAMS.index(process.program)))


def stop(tunnel: Tunnel, processes: Path, *, timeout: float = STOP_TIMEOUT) -> None:
    """Send SIGTERM, and wait at most `timeout` seconds until all have exited. Raises SystemRefused."""
    end = time.monotonic() + timeout
    signalled: set[int] = set()
    while running := processes_of(tunnel, processes):
        for process in running:
            if process.pid not in signalled:
                signalled.add(process.pid)
                with signalling(process.pid) as send:
                    if process in processes_of(tunnel, processes):  # still: its pid may have become another's
                        _terminate(process, send)
        if time.monotonic() > end:
            pids = ", ".join(str(process.pid) for process in running)
            raise SystemRefused(
                f"pid {pids} did not end within {timeout:g} s",
                hint="See what starts or holds it: ps -f -p PID; kill -9 PID ends it.",
            )
        time.sleep(POLL_INTERVAL)


def _matches(arguments: Sequence[str], tunnel: Tunnel) -> bool:
    """Say whether a process's command line has this tunnel's forward.

    Matched as text, not parsed as options: autossh blanks some of its arguments, and ps(1) does not separate them.
    """
    output = " ".join(arguments)
    target = (
        rf"{re.escape(tunnel.target.path)}(?![^\s\"'])"
        if isinstance(tunnel.target, SocketPath)
        else rf"\[?{re.escape(tunnel.target.host)}\]?:{tunnel.target.port}(?![0-9])"
    )
    forward = rf"(?<![0-9]){tunnel.listen_port}[:\s]{target}"
    return tunnel.endpoint.host.lower() in output.lower() and re.search(forward, output) is not None


def _running(processes: Path) -> Iterator[Process]:
    listed = _from_proc(processes) if processes.is_dir() else _from_ps()
    for pid, arguments in listed:
        program = arguments[0].rpartition("/")[2] if arguments else ""
        if program in PROGRAMS and pid != os.getpid():
            yield Process(pid, program, tuple(arguments))


def _from_proc(processes: Path) -> Iterator[tuple[int, list[str]]]:
    for entry in processes.iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):  # it ended meanwhile
                with (entry / "cmdline").open("rb") as file:  # as long as its process likes (prctl(2), PR_SET_MM)
                    arguments = file.read(MAX_ARGUMENTS).decode("utf-8", "replace").split("\0")
                yield int(entry.name), [word for word in arguments if word]


def _from_ps() -> Iterator[tuple[int, list[str]]]:
    try:
        output = run(("ps", "-A", "-ww", "-o", "pid=", "-o", "args="), timeout=20).stdout
    except SystemRefused:  # no ps, or it prints too much
        return
    for line in output.decode("utf-8", "replace").splitlines():
        pid, _, command = line.strip().partition(" ")
        yield int(pid), command.split()


def _terminate(process: Process, send: Callable[[signal.Signals], None]) -> None:
    try:
        send(signal.SIGTERM)
    except OSError as error:
        raise SystemRefused(
            f"cannot stop {process.program} (pid {process.pid}): {error.strerror}",
            hint=f"Stop it as its owner, or: sudo kill {process.pid}",
        ) from error
