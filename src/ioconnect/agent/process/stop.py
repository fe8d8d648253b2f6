"""Stops the agent from another process: over its control socket; by a signal only if it does not answer.

A signal goes only to a process of the caller's own that provably holds the lock: by the kernel's list of locks, not
by the pid that a file names. A pid is not reused while its pidfd is open.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.custody.processes import owner, signalling
from ioconnect.errors import AgentNotRunning, ExitCode, SystemRefused
from ioconnect.status import control, lock
from ioconnect.status.control import AgentSilent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ioconnect.config.paths import Paths

KILL_TIMEOUT = 3.0  # seconds for a process to end after SIGKILL
POLL_INTERVAL = 0.05  # seconds


class NotProven(SystemRefused):
    """The process that does not answer cannot be ended by this user."""

    exit_code = ExitCode.UNAVAILABLE


def stop(
    paths: Paths,
    *,
    deadline: float,
    body: Mapping[str, object] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> int | None:
    """Stop the agent and wait until it has ended; return its pid, None if none ran.

    If it does not answer, or has not ended after `deadline` seconds, it is sent SIGTERM and then SIGKILL; `say` is
    told before. Raises the Fault that it answers with, NotProven, SystemRefused if it does not end.
    """
    pid = control.running_pid(paths)
    if pid is None:
        return None
    try:
        control.change(paths, "/v1/down", body or {})
    except AgentNotRunning:  # it has ended meanwhile
        return pid
    except AgentSilent as silent:
        if silent.pid not in (None, pid):  # the lock was removed and taken anew: its holder may be well
            raise
        say(f"{silent.message}; ending it by a signal.")
    else:
        if _wait_until_ended(paths, pid, deadline):
            return pid
        say(f"The agent (pid {pid}) has not ended after {deadline:g} s; ending it by a signal.")
    return _end_holder(paths, pid, deadline)


def _wait_until_ended(paths: Paths, pid: int, seconds: float) -> bool:
    """Block until this agent has released the lock and answers no more; return False if that takes longer.

    The second is the end of an agent whose lock file was removed or replaced.
    """
    end = time.monotonic() + seconds
    with contextlib.suppress(SystemRefused):
        if not _is_released(paths, pid, seconds):
            return False
    with contextlib.suppress(AgentSilent):
        while control.answering_pid(paths) == pid:
            if time.monotonic() > end:
                return False
            time.sleep(POLL_INTERVAL)
    return True


def _is_released(paths: Paths, pid: int, seconds: float) -> bool:
    """Block until this process does not hold the lock, though another may; return False if that takes longer."""
    end = time.monotonic() + seconds
    while lock.holder(paths.lock) in (pid, 0):  # 0: not known yet
        if time.monotonic() > end:
            return False
        time.sleep(POLL_INTERVAL)
    return True


def _end_holder(paths: Paths, pid: int, deadline: float) -> int | None:
    """End this process, which holds the lock, and return its pid; None if no agent runs any more.

    An agent whose lock file was removed is not signalled: raises NotProven, or AgentSilent if it does not answer.
    """
    holder = lock.holder(paths.lock)
    other = control.running_pid(paths) if holder is None else holder
    if other is None:
        return None
    if pid and other not in (pid, 0):  # it has ended meanwhile, and another one was started
        return pid
    pid = pid or other
    if holder is None:
        raise NotProven(
            f"the agent (pid {pid or 'unknown'}) does not end, and its lock is free: no proof which process it is",
            hint="Look at it with ps, and end it yourself.",
        )
    with _own_process(paths, pid) as send:
        send(signal.SIGTERM)
        send(signal.SIGCONT)  # one that is stopped handles no signal but these two and SIGKILL
        if not _is_released(paths, pid, deadline):
            send(signal.SIGKILL)
            if not _is_released(paths, pid, KILL_TIMEOUT):
                raise SystemRefused(
                    f"the agent (pid {pid}) does not end, not even killed", hint="Is its disk hanging?"
                )
    return pid


@contextlib.contextmanager
def _own_process(paths: Paths, pid: int) -> Iterator[Callable[[signal.Signals], None]]:
    """Yield what sends a signal to this process, after the proof that it is the caller's and holds the lock."""
    hint = f"As its owner or root: kill -CONT {pid} lets a stopped one go on; kill -KILL {pid} ends it."
    with signalling(pid) as send:
        uid = owner(pid)
        if not pid or not lock.is_held_by(paths.lock, pid, uid):
            raise NotProven(
                f"the agent does not answer, and it cannot be proved which process it is (pid {pid or 'unknown'})",
                hint="Look with ps which process is the agent, and end it yourself.",  # not what the lock names
            )
        if uid != os.geteuid() and Path("/proc/self").exists():  # without /proc kill(2) decides
            raise NotProven(f"the agent (pid {pid}) does not answer, and belongs to another user", hint=hint)
        yield send
