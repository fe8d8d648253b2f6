"""Starts other programs: the only module of the installers that does.

Each runs with a timeout, in English (LC_ALL=C), and in a session of its own: one that gives up root's rights (as an
account, `crontab -u`) has no terminal of root's to type into (TIOCSTI). Its output is bounded: it may be anybody's.
So is the wait for its end: a process of the same account that traces it hides that it has ended (ptrace(2)).
"""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import selectors
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from ioconnect.errors import SystemRefused
from ioconnect.escape import escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

TIMEOUT = 120.0  # seconds; systemctl waits for READY=1, by default at most 90
MAX_OUTPUT = 16 << 20  # bytes, of each output of a program
MAX_LINE = 1 << 20  # bytes, of a line or an error output that is read while the program runs
CHUNK = 1 << 16  # bytes of one read
KILL_TIMEOUT = 1.0  # seconds for a program to end after SIGKILL; then it is left, and looked at again later
# Of a program that root runs as an account, which can read it (proc_pid_environ(5)): nothing of root's own.
_OF_ACCOUNTS = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}
# Becomes the account and then the program: uid, gid, groups, argv. In a process of its own, as Popen waits without a
# limit for one that becomes the account itself, and the account may stop that by a signal before it runs the program.
# In a new session keyring, as root's is inherited (session-keyring(7)): KEYCTL_JOIN_SESSION_KEYRING, without a name.
_BECOME = """
import ctypes, errno, os, sys
uid, gid, groups, *argv = sys.argv[1:]
keyctl = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "ppc64le": 271, "s390x": 280}.get(os.uname().machine)
if keyctl and sys.maxsize > 1 << 32 and sys.platform == "linux":
    library = ctypes.CDLL(None, use_errno=True)
    if library.syscall(ctypes.c_long(keyctl), ctypes.c_long(1), None) < 0:
        if ctypes.get_errno() not in (errno.ENOSYS, errno.EPERM, errno.EACCES):  # no keyrings, or nobody may use them
            sys.exit(f"cannot leave root's session keyring: {os.strerror(ctypes.get_errno())}")
os.setgroups([int(group) for group in groups.split(",")])
os.setgid(int(gid))
os.setuid(int(uid))
try:
    os.execvp(argv[0], argv)
except OSError as error:
    print(f"cannot run {argv[0]}: {error.strerror}", file=sys.stderr, flush=True)
    os._exit(127)
"""


_left: list[subprocess.Popen[bytes]] = []  # killed, and not seen to end


class _OutputTooLarge(Exception):
    """A program prints more than it may."""


@dataclass(frozen=True, slots=True)
class Completed:
    """The exit code and output of a program."""

    returncode: int
    stdout: bytes
    stderr: bytes

    @property
    def error_text(self) -> str:
        """The error output, else the standard output, escaped, on one line."""
        return escaped(b" ".join((self.stderr or self.stdout).split()))


def run(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    timeout: float = TIMEOUT,
    variables: Mapping[str, str] | None = None,
    account: str | None = None,
) -> Completed:
    """Run a program to its end; for root as another `account`, without runuser(1), which not every system has.

    `variables` are added to this process's environment, or to that of an account, which has PATH and LC_ALL only.
    Raises SystemRefused if it cannot be started (as an account: exit code 127), exceeds `timeout` seconds, or prints
    more than MAX_OUTPUT.
    """
    end = time.monotonic() + timeout
    try:
        program = subprocess.Popen(  # noqa: S603  the commands are ours, no shell reads them
            list(argv if account is None else _become(account, argv)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**(_environment() if account is None else _OF_ACCOUNTS), **(variables or {})},
            start_new_session=True,
            cwd=None if account is None else "/",  # root's may be closed to the account
        )
    except OSError as error:
        raise _cannot_run(argv[0], error) from error
    with _ended(program):
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stderr is not None
        pipes = (program.stdout, program.stderr)
        try:
            stdout, stderr = _transfer(program.stdin, pipes, stdin, limit=MAX_OUTPUT, end=end)
            code = program.wait(max(end - time.monotonic(), 0))
        except (TimeoutError, subprocess.TimeoutExpired) as error:
            raise SystemRefused(
                f"`{' '.join(argv)}` was not done after {timeout:g} s",
                hint="Run it by hand to see what it waits for.",
            ) from error
        except _OutputTooLarge as error:
            raise SystemRefused(
                f"`{' '.join(argv)}` prints more than {MAX_OUTPUT >> 20} MiB",
                hint="Run it by hand to see what it is.",
            ) from error
    return Completed(code, stdout, stderr)


@contextlib.contextmanager
def _ended(program: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kill the program at the end of the block, and wait for its end, at most KILL_TIMEOUT seconds."""
    try:
        yield
    finally:
        program.kill()
        for pipe in (program.stdin, program.stdout, program.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was not written yet
                    pipe.close()
        try:
            program.wait(KILL_TIMEOUT)
        except subprocess.TimeoutExpired:
            _left.append(program)
        _left[:] = [each for each in _left if each.poll() is None]


def _become(account: str, argv: Sequence[str]) -> tuple[str, ...]:
    """Return the command that gives root's rights up for the account's, with its groups, and then runs `argv`."""
    entry = pwd.getpwnam(account)
    groups = os.getgrouplist(account, entry.pw_gid)[: os.sysconf("SC_NGROUPS_MAX")]
    words = (entry.pw_uid, entry.pw_gid, ",".join(map(str, groups)))
    return (sys.executable, "-I", "-S", "-c", _BECOME, *map(str, words), *argv)


def output_lines(argv: Sequence[str], *, ended: Callable[[Completed], None]) -> Iterator[bytes]:
    """Yield a program's output line by line while it runs; then call `ended` with its exit code and error output.

    A caller that stops reading kills the program. Raises SystemRefused if it cannot be started.
    """
    import tempfile  # noqa: PLC0415  brings random; `status` needs `run` only

    with tempfile.TemporaryFile() as errors:
        try:
            program = subprocess.Popen(  # noqa: S603  as above
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=_environment(),
                start_new_session=True,
            )
        except OSError as error:
            raise _cannot_run(argv[0], error) from error
        with _ended(program):
            assert program.stdout is not None
            while line := program.stdout.readline(MAX_LINE):
                yield line
            program.wait(TIMEOUT)
        errors.seek(0)
        ended(Completed(program.returncode, b"", errors.read(MAX_LINE)))


def _environment() -> dict[str, str]:
    environment = {**os.environ, "LC_ALL": "C", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"}
    runtime = f"/run/user/{os.getuid()}"
    if os.path.isdir(runtime):  # noqa: PTH112  su and cron leave it out, and `systemctl --user` finds no bus then
        environment.setdefault("XDG_RUNTIME_DIR", runtime)
    return environment


def _cannot_run(program: str, error: OSError) -> SystemRefused:
    # With an unreadable folder in PATH, execvp(3) reports EACCES for a program that does not exist.
    if shutil.which(program) is not None:
        return SystemRefused(f"cannot run {program}: {error.strerror}", hint="Check its permissions.")
    return SystemRefused(
        f"there is no {program} on this machine",
        hint="Choose another --kind, or see docs/services.md for machines without systemd, cron and launchd.",
    )


def _transfer(
    stdin: IO[bytes], outputs: Sequence[IO[bytes]], content: bytes, *, limit: int, end: float
) -> list[bytes]:
    """Write `content` to a program's standard input, close that, and return the outputs once they are closed.

    Raises _OutputTooLarge beyond `limit` bytes of one, and TimeoutError at the time `end` (time.monotonic).
    """
    rest = memoryview(content)
    received = [bytearray() for _ in outputs]
    with selectors.DefaultSelector() as pipes:
        pipes.register(stdin, selectors.EVENT_WRITE)
        for pipe, buffer in zip(outputs, received, strict=True):
            pipes.register(pipe, selectors.EVENT_READ, buffer)
        while pipes.get_map():
            for key, _ in pipes.select(max(end - time.monotonic(), 0)):
                if key.fileobj is stdin:
                    rest = rest[_written(stdin, rest) :]
                    if not rest:
                        pipes.unregister(stdin)
                        stdin.close()
                elif not _read(key.fd, key.data, limit):
                    pipes.unregister(key.fileobj)
            if time.monotonic() >= end:
                raise TimeoutError
    return [bytes(buffer) for buffer in received]


def _written(pipe: IO[bytes], rest: memoryview) -> int:
    """Write as much as never blocks (pipe(7)), and return how much; all if the program reads no more."""
    try:
        return os.write(pipe.fileno(), rest[: select.PIPE_BUF])
    except BrokenPipeError:
        return len(rest)


def _read(descriptor: int, buffer: bytearray, limit: int) -> bool:
    """Read what is there; return whether more may come. Raises _OutputTooLarge."""
    data = os.read(descriptor, CHUNK)
    buffer += data
    if len(buffer) > limit:
        raise _OutputTooLarge
    return bool(data)
