"""The lock file that allows one agent per installation: it is locked while the agent runs, and only then.

flock(2), not lockf(3): a POSIX lock is released when any descriptor of the file is closed in the process. The file is
never unlinked: two agents could then each lock a file of that name. The pid in it is valid only while it is locked.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shlex
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.config.json_fields import MAX_PID
from ioconnect.custody import processes
from ioconnect.custody.descriptors import open_regular, open_to_write
from ioconnect.custody.entries import Untrusted
from ioconnect.custody.files import make_folder
from ioconnect.custody.flock import attempts, try_lock
from ioconnect.errors import CannotCreate, ExitCode, Fault, SystemRefused
from ioconnect.status import disk

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SIZE = 4096  # bytes of a lock file that are read
SHARED_LOCK_TIMEOUT = 0.5  # seconds after which a shared lock, as `holder` takes it, is released again
_KINDS = {
    stat.S_IFIFO: "a named pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a folder",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class AlreadyRunning(Fault):
    """Another agent holds the lock; `pid` is None if its file does not say."""

    exit_code = ExitCode.OK

    def __init__(self, pid: int | None) -> None:
        super().__init__(
            "the agent is already running" + (f" (pid {pid})" if pid else ""),
            hint="ioconnect status shows what it does; ioconnect down ends it.",
        )
        self.pid = pid


class AgentLock:
    """The exclusive lock of the running agent; the kernel releases it when the process ends, however it ends."""

    def __init__(self, descriptor: int, path: Path, content: bytes) -> None:
        self.path = path
        self._descriptor = descriptor
        self._content = content

    @classmethod
    def acquire(cls, path: Path, *, version: str, started_at: str) -> AgentLock:
        """Take the lock and write {pid, started_at, version} to its file.

        Raises AlreadyRunning if an agent holds it, CannotCreate if the file cannot be created or locked.
        """
        make_folder(path.parent)
        content = {"pid": os.getpid(), "started_at": started_at, "version": version}
        encoded = json.dumps(content).encode() + b"\n"
        return cls(_locked(path, encoded), path, encoded)

    def restore(self) -> bool:
        """Take the lock file anew if it is not at its path any more; return whether that was so.

        The folder is made anew too, not its parents. A file that was renamed stays locked as well. Raises
        AlreadyRunning if another agent holds what is there, CannotCreate.
        """
        facts = os.fstat(self._descriptor)
        with contextlib.suppress(OSError):
            if os.path.samestat(self.path.stat(follow_symlinks=False), facts):
                return False
        with contextlib.suppress(OSError):  # `_locked` says what is wrong
            self.path.parent.mkdir(mode=0o700)
        before, self._descriptor = self._descriptor, _locked(self.path, self._content)
        if facts.st_nlink == 0:
            os.close(before)
        return True

    def release(self) -> None:
        """Release the lock before the process ends, if the agent cannot start."""
        os.close(self._descriptor)


def _locked(path: Path, content: bytes) -> int:
    """Return the descriptor of the file, locked and with this content. Raises AlreadyRunning, CannotCreate."""
    with contextlib.ExitStack() as undo, _os_errors_as(path, CannotCreate):
        descriptor = open_to_write(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
        undo.callback(os.close, descriptor)
        if not any(try_lock(descriptor) for _ in attempts(SHARED_LOCK_TIMEOUT)):
            raise AlreadyRunning(_recorded_pid(descriptor))
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, content, 0)
        undo.pop_all()
    return descriptor


def holder(path: Path) -> int | None:
    """Return the pid of the running agent, None if none runs, 0 if its pid is not in the file within the timeout.

    Blocks for at most `SHARED_LOCK_TIMEOUT`, `disk.TIMEOUT` if the disk hangs. Raises SystemRefused if the file
    cannot be read.
    """
    with _os_errors_as(path, SystemRefused):
        return disk.within_timeout(path, lambda: _holder(path))


def owner(path: Path) -> int | None:
    """Return the uid of the lock file's owner, who may write any pid into it; None if it cannot be read."""
    with contextlib.suppress(SystemRefused), _os_errors_as(path, SystemRefused):
        return disk.within_timeout(path, lambda: _owner(path))
    return None


def is_held_by(path: Path, pid: int, uid: int | None) -> bool:
    """Whether this process of the account `uid` holds the lock, by the kernel's lists; False without them (macOS).

    All is asked of one open file: another account may have the path lead elsewhere at the next look. Blocks and
    raises as `holder`.
    """
    with _os_errors_as(path, SystemRefused):
        return disk.within_timeout(path, lambda: _is_held_by(path, pid, uid))


def identities(path: Path) -> Iterator[str | None]:
    """Yield what may tell an agent that its lock is meant: the path; the inode, if it has the file by another path.

    Only the second examines the file; nothing more comes if its disk hangs. None: who may not examine it means the
    agent that is asked.
    """
    yield name(path)
    try:
        yield disk.within_timeout(path, lambda: identity(path))
    except disk.DiskHangs:
        return
    except OSError:
        yield None


def identity(path: Path) -> str:
    """Return what tells this lock file from others: an agent answers no client that means another.

    It is the file's inode, or its path without links if there is no such file. Raises OSError if that cannot be said.
    """
    try:
        facts = path.stat()
    except FileNotFoundError:
        return name(Path(os.path.realpath(path)))
    return f"{facts.st_dev}:{facts.st_ino}"


def name(path: Path) -> str:
    """Return the path of a lock file as the value of a header."""
    return os.fsencode(path).hex()


def _holder(path: Path) -> int | None:
    with _opened(path) as descriptor:
        if descriptor is None:
            return None
        for _ in attempts(SHARED_LOCK_TIMEOUT):
            if try_lock(descriptor, shared=True):
                return None
            pid = _recorded_pid(descriptor)
            if pid:
                return pid
        return 0


def _owner(path: Path) -> int | None:
    with _opened(path) as descriptor:
        uid = None if descriptor is None else os.fstat(descriptor).st_uid
    if uid == 0:
        with _opened(path, roots=True):  # Untrusted: in another account's folder, where any file of root's may be
            pass
    return uid


def _is_held_by(path: Path, pid: int, uid: int | None) -> bool:
    try:
        with _opened(path, roots=uid == 0) as descriptor:
            return descriptor is not None and processes.has_locked(pid, descriptor)
    except Untrusted:
        return False


@contextlib.contextmanager
def _opened(path: Path, *, roots: bool = False) -> Iterator[int | None]:
    """Open the lock file for reading; None if there is none. Raises OSError, Untrusted.

    With `roots` root opens only one where it keeps files open itself, as its agent does.
    """
    try:
        if roots and os.geteuid() == 0:
            descriptor = open_to_write(path, os.O_RDWR | os.O_NOFOLLOW)
        else:
            descriptor, _ = open_regular(path, follow=False)
    except FileNotFoundError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _os_errors_as(path: Path, kind: type[Fault]) -> Iterator[None]:
    """Raise an OSError of the block, or Untrusted, as a fault of this kind."""
    try:
        yield
    except Untrusted as error:
        raise kind(f"cannot use the lock {path}: {error.strerror}", hint=error.hint) from error
    except OSError as error:
        why, hint = _explained(path, error)
        raise kind(f"cannot use the lock {path}: {why}", hint=hint) from error


def _explained(path: Path, error: OSError) -> tuple[str, str]:
    """Return what is wrong with the lock file, and what to do: by what stands there, and by whose it is."""
    strerror = error.strerror or str(error)
    if isinstance(error, disk.DiskHangs):
        return strerror, disk.HINT
    with contextlib.suppress(OSError):
        facts = disk.within_timeout(path, path.lstat)
        what = _KINDS.get(stat.S_IFMT(facts.st_mode))
        if what is not None:
            removal = "rmdir" if stat.S_ISDIR(facts.st_mode) else "rm"
            return (
                f"it is {what}, not a regular file",
                f"No agent made it. Remove it: {removal} {shlex.quote(str(path))}",
            )
        if error.errno in (errno.EACCES, errno.EPERM) and facts.st_uid != os.geteuid():
            other = f"sudo -u '#{facts.st_uid}'" if facts.st_uid else "sudo"
            whose = f"{strerror}: it belongs to another user (uid {facts.st_uid})"
            return whose, f"Run the command as that user ({other}), or set IOCONNECT_HOME to a folder of yours."
    hint = "Run the command as the user that the agent runs as, or set IOCONNECT_HOME."
    return strerror, hint


def _recorded_pid(descriptor: int) -> int | None:
    """Return the pid in the file, None if there is none."""
    try:
        content = json.loads(os.pread(descriptor, MAX_SIZE, 0))
    except (ValueError, RecursionError, OSError):
        return None
    pid = content.get("pid") if isinstance(content, dict) else None
    return pid if type(pid) is int and 1 < pid <= MAX_PID else None
