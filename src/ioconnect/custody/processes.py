"""Whose a process is, whether it holds a lock, and signals to one that was looked at before.

Its pid cannot belong to another one meanwhile (pidfd_open(2)).
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.errors import SystemRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


LOCKS = Path("/proc/locks")  # proc_locks(5)
MAX_LOCKS = 100_000  # lines of it that are read; any account can lock files without end
# Of a process, looked at from the lowest number on: an agent locks its file before it opens much else.
MAX_DESCRIPTORS = 10_000
MAX_FDINFO = 4096  # bytes; its lines about locks come first
NO_PIDFDS = (errno.ENOSYS, errno.EPERM)  # Linux before 5.3; a container's filter of system calls (seccomp)


@contextlib.contextmanager
def signalling(pid: int) -> Iterator[Callable[[signal.Signals], None]]:
    """Yield what sends a signal to this process, and does nothing once it has ended; raises PermissionError.

    What the process is must be looked at inside the block. Where the system has no pidfds (macOS, `NO_PIDFDS`) its
    pid may be another's between the look and the signal. Raises SystemRefused if a pidfd cannot be had otherwise.
    """
    try:
        handle = os.pidfd_open(pid) if pid > 0 and hasattr(os, "pidfd_open") else None
    except ProcessLookupError:
        pid, handle = 0, None
    except OSError as error:
        if error.errno not in NO_PIDFDS:
            raise SystemRefused(f"cannot get hold of the process {pid}: {error.strerror}") from error
        handle = None
    try:
        yield lambda what: _send(pid, handle, what)
    finally:
        if handle is not None:
            os.close(handle)


def owner(pid: int) -> int | None:
    """Return the effective uid of a process; None if there is none, or no /proc to tell."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}").stat().st_uid
    return None


def is_of(pid: int, uid: int) -> bool:
    """Whether a process that the kernel named (SO_PEERCRED) is still that account's; True without a /proc to tell.

    If it has ended, its pid may be another's by now.
    """
    return owner(pid) == uid or owner(os.getpid()) is None


def has_locked(pid: int, descriptor: int) -> bool:
    """Whether the process holds the exclusive lock (flock(2)) of this open file; False without a list (macOS).

    Not a shared lock: anybody who may read the file takes one. Not a descriptor that another process locked and sent
    it (SCM_RIGHTS), which has the same lines but for the pid.
    """
    facts = os.fstat(descriptor)
    device = f"{os.major(facts.st_dev):02x}:{os.minor(facts.st_dev):02x}:{facts.st_ino}"
    wanted = ["FLOCK", "ADVISORY", "WRITE", str(pid)]  # 1: FLOCK  ADVISORY  WRITE 4711 08:01:123456 0 EOF
    try:
        with LOCKS.open() as lines:
            if any(words[1:6] == [*wanted, device] for words in map(str.split, islice(lines, MAX_LOCKS))):
                return True
        # Some file systems (overlay) have another device number in the kernel's list than in stat(2), which says the
        # same of both descriptors (proc_pid_fdinfo(5)).
        with os.scandir(f"/proc/{pid}/fdinfo") as entries:
            names = (entry.name for entry in islice(entries, MAX_DESCRIPTORS))
            return any(_is_locked(Path(f"/proc/{pid}"), name, wanted, facts) for name in names)
    except OSError:
        return False


def _is_locked(process: Path, name: str, wanted: list[str], facts: os.stat_result) -> bool:
    """Whether this descriptor of a process is the file, and the process locked it; False once it is closed."""
    try:
        with (process / "fdinfo" / name).open("rb", buffering=0) as file:
            lines = file.read(MAX_FDINFO).decode("ascii", "replace").splitlines()
        locked = any(words[:1] == ["lock:"] and words[2:6] == wanted for words in map(str.split, lines))
        return locked and os.path.samestat((process / "fd" / name).stat(), facts)
    except OSError:
        return False


def _send(pid: int, handle: int | None, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        if handle is not None:
            signal.pidfd_send_signal(handle, what)
        elif pid > 0:  # else it had ended before; and kill(2) would take 0 for a whole process group
            os.kill(pid, what)
