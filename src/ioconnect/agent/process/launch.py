"""Start the agent as a daemon, from the process of a command.

The daemon is this program, executed again; a fork of a process with threads would not be safe. It has a session of
its own (setsid(2)), `/` as working directory, and inherits the readiness pipe only: a shell or cron that waits for
EOF on the command's pipes is not blocked.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ioconnect.agent.process.readiness import CONNECTED
from ioconnect.agent.supervisor.publish import summary
from ioconnect.custody import strict_modes
from ioconnect.custody.descriptors import open_log, open_regular
from ioconnect.custody.entries import Untrusted
from ioconnect.custody.files import hint_of, make_folder
from ioconnect.errors import CannotCreate, ExitCode, Fault, ReasonCode, SystemRefused
from ioconnect.status import lock, overview
from ioconnect.status.lock import AlreadyRunning
from ioconnect.status.observe import ask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ioconnect.config.paths import Paths
    from ioconnect.status.snapshots import Snapshot

EXIT_TIMEOUT = 3.0  # seconds for the daemon to exit after it closed the readiness pipe
STATUS_INTERVAL = 0.5  # seconds between questions for the status, to show progress
LOCK_TIMEOUT = 10.0  # seconds beyond `wait` for the daemon to take its lock, before which no other command finds it
LOCK_INTERVAL = 0.05  # seconds between looks at the lock
MAX_READY_LINE = 65536  # bytes
MAX_CRASH_LOG = 1 << 20  # bytes; a larger one is truncated


@dataclass(frozen=True, slots=True)
class StartResult:
    """The result of a start: exit code and message of the command."""

    code: ExitCode
    message: str
    hint: str = ""
    reason: ReasonCode | None = None  # of the fault that kept the agent from running
    pid: int | None = None  # of the agent that runs


def start(paths: Paths, arguments: Sequence[str], *, wait: float, progress: Callable[[str], None]) -> StartResult:
    """Start the daemon and wait until it is connected, at most `wait` seconds, at least until it has its lock.

    `arguments` are those of the command, with global options, `up` and names (`-v up orders`); the daemon gets the
    same and the hidden `--ready-fd N`. It runs in `/`, so file names must be absolute. `progress` is called with a
    status summary whenever it changes. Returns OK once all tunnels are connected, TEMP_FAIL if the agent runs and a
    tunnel is not connected, or the exit code of the fault that kept it from running. Raises AlreadyRunning,
    CannotCreate, SystemRefused.
    """
    strict_modes.check_program()  # here, not in the daemon, which knows nothing of the script that cron names
    pid = lock.holder(paths.lock)
    if pid is not None:
        raise AlreadyRunning(pid)
    crash_log = paths.log.with_name("crash.log")
    reading, writing = os.pipe()
    try:
        try:
            log_size, child = _spawn(crash_log, arguments, writing)
        finally:
            os.close(writing)
        line = _read_ready_line(reading, paths, child.pid, wait, progress)
    finally:
        os.close(reading)
    if line == b"":
        return _exited(child, crash_log, log_size)
    child.returncode = 0  # it runs on: keeps Popen from warning that nobody waited for it
    return _result(line, paths, child.pid, wait)


def _spawn(crash_log: Path, arguments: Sequence[str], writing: int) -> tuple[int, subprocess.Popen[bytes]]:
    """Start the child; return the size of the crash log before, and the child."""
    make_folder(crash_log.parent)
    options = ["--ready-fd", str(writing)]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    command = [sys.executable, "-m", "ioconnect", *arguments[:end], *options, *arguments[end:]]
    try:
        output = open_log(crash_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except (OSError, Untrusted) as error:
        hint = hint_of(error, "Check its permissions.")
        if isinstance(error, Untrusted):
            hint += (
                " Or set IOCONNECT_HOME to a folder that only root may change: log and configuration are there then."
            )
        raise CannotCreate(f"cannot write {crash_log}: {error.strerror}", hint=hint) from error
    with os.fdopen(output, "wb") as file:
        if os.fstat(output).st_size > MAX_CRASH_LOG:
            os.ftruncate(output, 0)
        log_size = os.fstat(output).st_size
        try:
            child = subprocess.Popen(  # noqa: S603  our own interpreter and program
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd="/",
                pass_fds=[writing],
                start_new_session=True,
            )
        except OSError as error:
            raise SystemRefused(f"cannot start {sys.executable}: {error.strerror}") from error
    return log_size, child


def _read_ready_line(
    reading: int, paths: Paths, pid: int, wait: float, progress: Callable[[str], None]
) -> bytes | None:
    """Return the line from the readiness pipe, what there is of it at EOF, None if there is none in time.

    In time: within `wait` seconds, or until the daemon has taken its lock.
    """
    end, line, shown = time.monotonic() + wait, b"", ""
    while not line.endswith(b"\n") and len(line) < MAX_READY_LINE:
        remaining = end - time.monotonic()
        if remaining <= 0 and (remaining <= -LOCK_TIMEOUT or _has_lock(paths, pid)):
            return None
        if select.select([reading], [], [], min(max(remaining, LOCK_INTERVAL), STATUS_INTERVAL))[0]:
            data = os.read(reading, 4096)
            if not data:
                break
            line += data
        snapshot = _snapshot(paths, pid)
        if snapshot is not None and shown != (shown := summary(snapshot)):
            progress(shown)
    return line


def _result(line: bytes | None, paths: Paths, pid: int, wait: float) -> StartResult:
    if line is None:
        snapshot = _snapshot(paths, pid)
        return StartResult(
            ExitCode.TEMP_FAIL,
            f"the agent runs (pid {pid}) and keeps trying, but after {wait:g} s "
            + (summary(snapshot) if snapshot else "it has not said what it does"),
            overview.hint(snapshot.tunnels if snapshot else ()),
            pid=pid,
        )
    report: Any = json.loads(line)
    if "error" in report:
        error = report["error"]
        reason = error["code"] and ReasonCode(error["code"])
        return StartResult(ExitCode(error["exit_code"]), error["message"], error["hint"], reason)
    if report["state"] == CONNECTED:
        return StartResult(ExitCode.OK, f"the agent runs (pid {pid}), every tunnel is connected", pid=pid)
    raise AlreadyRunning(report["pid"])


def _exited(child: subprocess.Popen[bytes], crash_log: Path, log_size: int) -> StartResult:
    """Return the exit code of a daemon that wrote no line to the pipe, and its error message in the crash log."""
    try:
        code = child.wait(EXIT_TIMEOUT)
    except subprocess.TimeoutExpired:
        child.kill()
        code = child.wait()
    if code == 0:
        return StartResult(ExitCode.UNAVAILABLE, "the agent was stopped while it started", "See ioconnect logs.")
    with os.fdopen(open_regular(crash_log)[0], "rb") as file:
        file.seek(log_size)
        output = file.read(MAX_READY_LINE).decode("utf-8", "backslashreplace").splitlines()
    errors = [line.removeprefix("error: ") for line in output if line.startswith("error: ")] or output
    known = {int(each): each for each in ExitCode if each is not ExitCode.OK}
    return StartResult(
        known.get(code, ExitCode.SOFTWARE),
        f"the agent ended at once with code {code}" + (f": {errors[-1]}" if errors else ""),
        f"Look at {crash_log}.",
    )


def _has_lock(paths: Paths, pid: int) -> bool:
    """Say whether this process holds the lock; not so either if that cannot be told."""
    with contextlib.suppress(SystemRefused):
        return lock.holder(paths.lock) == pid
    return False


def _snapshot(paths: Paths, pid: int) -> Snapshot | None:
    """Return what this agent says now; None if it does not answer, as before it serves its control socket."""
    try:
        snapshot = ask(paths, STATUS_INTERVAL)
    except Fault:
        return None
    return snapshot if snapshot.pid == pid and snapshot.tunnels else None
