"""From the outside: start the agent as a daemon, stop it, send it a signal.

The daemon is this program, run again (never a fork of a process that may have threads): a session of its own, in
`/`, with no descriptor of ours but the readiness pipe, so that a shell or cron that waits for our pipes is let go.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ioconnect.agent.process.readiness import CONNECTED
from ioconnect.agent.supervisor import reconnect_requests
from ioconnect.agent.supervisor.publish import summary
from ioconnect.config.files import make_folder
from ioconnect.errors import AgentNotRunning, CannotCreate, ExitCode, SystemRefused, with_guide_link
from ioconnect.status import lock, snapshots
from ioconnect.status.snapshots import State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ioconnect.config.paths import Paths
    from ioconnect.status.snapshots import Snapshot

KILL_PATIENCE = 3.0  # seconds from SIGKILL to the end of a process
END_PATIENCE = 3.0  # seconds from the daemon's last word to its end
LOOK_EVERY = 0.5  # seconds between two looks at the status, to say how it goes
LARGEST_ANSWER = 65536  # bytes that the daemon may say over the pipe
LARGEST_CRASH_LOG = 1 << 20  # bytes; a larger one is begun anew
NOT_RUNNING = "ioconnect up --daemon starts it."


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a start ended: `code` is what the command leaves with."""

    code: ExitCode
    message: str
    hint: str = ""


def start(paths: Paths, arguments: Sequence[str], *, wait: float, progress: Callable[[str], None]) -> Outcome:
    """Start the daemon and wait until it is connected, for at most `wait` seconds.

    `arguments` are those of the command, global options and `up` and names included (`-v up orders`); the daemon
    runs with the same and the hidden `--ready-fd N` behind them, in `/`: file names in them must be absolute.
    `progress` hears how it goes. Returns OK once all are connected (or if an agent runs already), TEMP_FAIL if the
    agent runs and one is not, or the code of what kept it from running. Raises CannotCreate, SystemRefused.
    """
    pid = lock.holder(paths.lock)
    if pid is not None:
        return _already(pid)
    crash_log = paths.log.with_name("crash.log")
    reading, writing = os.pipe()
    try:
        try:
            said_before, child = _spawn(crash_log, arguments, writing)
        finally:
            os.close(writing)
        answer = _await(reading, paths, child.pid, wait, progress)
    finally:
        os.close(reading)
    if answer == b"":
        return _ended(child, crash_log, said_before)
    child.returncode = 0  # it is on its own now: keeps Popen from complaining that nobody waited for it
    return _understood(answer, paths, child.pid, wait)


def stop(paths: Paths, *, deadline: float) -> int | None:
    """End the agent and wait until it is gone; kill it if that takes longer than `deadline` seconds.

    Returns its pid, None if none ran. Raises SystemRefused if it may not be ended, or does not end.
    """
    pid = _signal(paths, signal.SIGTERM)
    if pid is None:
        return None
    if not lock.wait_until_free(paths.lock, deadline) and lock.holder(paths.lock) == pid:
        _send(pid, signal.SIGKILL)
        if not lock.wait_until_free(paths.lock, KILL_PATIENCE):
            raise SystemRefused(f"the agent (pid {pid}) does not end, not even killed", hint="Is its disk hanging?")
    return pid


def signal_agent(paths: Paths, what: signal.Signals) -> int:
    """Send the agent a signal (SIGHUP: reload, SIGUSR1: reconnect) and return its pid.

    Raises AgentNotRunning, SystemRefused.
    """
    pid = _signal(paths, what)
    if pid is None:
        raise AgentNotRunning("the agent is not running", hint=NOT_RUNNING)
    return pid


def reconnect(paths: Paths, name: str | None) -> int:
    """Have the agent try this tunnel now, all if None, and return its pid. Raises AgentNotRunning, SystemRefused."""
    if lock.holder(paths.lock) is None:
        raise AgentNotRunning("the agent is not running", hint=NOT_RUNNING)
    if name is not None:
        reconnect_requests.leave(paths, name)
    return signal_agent(paths, signal.SIGUSR1)


def _spawn(crash_log: Path, arguments: Sequence[str], writing: int) -> tuple[int, subprocess.Popen[bytes]]:
    """Start the child; return where its output begins in the crash log, and the child."""
    make_folder(crash_log.parent)
    options = ["--ready-fd", str(writing)]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    command = [sys.executable, "-m", "ioconnect", *arguments[:end], *options, *arguments[end:]]
    try:
        output = os.open(crash_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotCreate(f"cannot write {crash_log}: {error.strerror}", hint="Check its permissions.") from error
    with os.fdopen(output, "wb") as file:
        if os.fstat(output).st_size > LARGEST_CRASH_LOG:
            os.ftruncate(output, 0)
        said_before = os.fstat(output).st_size
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
    return said_before, child


def _await(reading: int, paths: Paths, pid: int, wait: float, progress: Callable[[str], None]) -> bytes | None:
    """Return the line that the daemon said, what there is of it if it ended, None if it has said nothing in time."""
    end, answer, told = time.monotonic() + wait, b"", ""
    while not answer.endswith(b"\n") and len(answer) < LARGEST_ANSWER:
        remaining = end - time.monotonic()
        if remaining <= 0:
            return None
        if select.select([reading], [], [], min(remaining, LOOK_EVERY))[0]:
            heard = os.read(reading, 4096)
            if not heard:
                break
            answer += heard
        snapshot = _snapshot(paths, pid)
        if snapshot is not None and told != (told := summary(snapshot)):
            progress(told)
    return answer


def _understood(answer: bytes | None, paths: Paths, pid: int, wait: float) -> Outcome:
    if answer is None:
        snapshot = _snapshot(paths, pid)
        return Outcome(
            ExitCode.TEMP_FAIL,
            f"the agent runs (pid {pid}) and keeps trying, but after {wait:g} s "
            + (summary(snapshot) if snapshot else "it has not begun to connect"),
            _hint(snapshot),
        )
    line: Any = json.loads(answer)
    if "code" in line:
        return Outcome(ExitCode(line["code"]), line["message"], line["hint"])
    if line["state"] == CONNECTED:
        return Outcome(ExitCode.OK, f"the agent runs (pid {pid}), every tunnel is connected")
    return _already(line["pid"])


def _hint(snapshot: Snapshot | None) -> str:
    reasons = [t.reason for t in snapshot.tunnels if t.state is not State.CONNECTED and t.reason] if snapshot else []
    return with_guide_link(reasons[0].hint, reasons[0].code) if reasons else "ioconnect status shows how it goes on."


def _already(pid: int | None) -> Outcome:
    running = lock.AlreadyRunning(pid)
    return Outcome(ExitCode.OK, running.message, running.hint)


def _ended(child: subprocess.Popen[bytes], crash_log: Path, said_before: int) -> Outcome:
    """Return the code of a daemon that ended without a word over the pipe, and what it left in its crash log."""
    try:
        code = child.wait(END_PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        code = child.wait()
    with crash_log.open("rb") as file:
        file.seek(said_before)
        last_words = file.read(LARGEST_ANSWER).decode("utf-8", "backslashreplace").splitlines()
    said = [line.removeprefix("error: ") for line in last_words if line.startswith("error: ")] or last_words
    known = {int(each): each for each in ExitCode if each is not ExitCode.OK}
    return Outcome(
        known.get(code, ExitCode.SOFTWARE),
        f"the agent ended at once with code {code}" + (f": {said[-1]}" if said else ""),
        f"Look at {crash_log}.",
    )


def _snapshot(paths: Paths, pid: int) -> Snapshot | None:
    """Return what this agent has published, None if nothing yet."""
    with contextlib.suppress(snapshots.StatusDamaged):
        snapshot = snapshots.read(paths.status)
        if snapshot is not None and snapshot.pid == pid:
            return snapshot
    return None


def _signal(paths: Paths, what: signal.Signals) -> int | None:
    """Send the signal to the lock's holder and return its pid, None if there is none."""
    pid = lock.holder(paths.lock)
    if pid == 0:
        raise SystemRefused(f"the agent has not written its pid into {paths.lock}", hint="Try again in a moment.")
    return pid if pid is not None and _send(pid, what) else None


def _send(pid: int, what: signal.Signals) -> bool:
    """Send the signal; False if the process is gone."""
    try:
        os.kill(pid, what)
    except ProcessLookupError:
        return False
    except PermissionError as error:
        raise SystemRefused(
            f"the agent (pid {pid}) belongs to another user", hint="Use sudo, or be that user."
        ) from error
    return True
