"""Starts other programs: the only module of the installers that does.

Each runs with a timeout, in English (LC_ALL=C), and in a session of its own: one that gives up root's rights (as an
account, `crontab -u`) has no terminal of root's to type into (TIOCSTI). Its output is bounded: it may be anybody's.
"""

from __future__ import annotations

import os
import pwd
import select
import selectors
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from ioconnect.errors import SystemRefused
from ioconnect.escape import escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

TIMEOUT = 120.0  # seconds; systemctl waits for READY=1, by default at most 90
MAX_OUTPUT = 16 << 20  # bytes, of each output of a program
MAX_LINE = 1 << 20  # bytes, of a line or an error output that is read while the program runs
CHUNK = 1 << 16  # bytes of one read
# Of a program that root runs as an account, which can read it (proc_pid_environ(5)): nothing of root's own.
_OF_ACCOUNTS = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}


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
    Raises SystemRefused if it cannot be started, exceeds `timeout` seconds, or prints more than MAX_OUTPUT.
    """
    end = time.monotonic() + timeout
    try:
        program = subprocess.Popen(  # noqa: S603  the commands are ours, no shell reads them
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**(_environment() if account is None else _OF_ACCOUNTS), **(variables or {})},
            start_new_session=True,
            **_as_account(account),
        )
    except OSError as error:
        raise _cannot_run(argv[0], error) from error
    with program:
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
        finally:
            program.kill()
    return Completed(code, stdout, stderr)


def _as_account(account: str | None) -> dict[str, Any]:
    """Return the arguments of Popen that give root's rights up for the account's, with its groups."""
    if account is None:
        return {}
    entry = pwd.getpwnam(account)
    groups = os.getgrouplist(account, entry.pw_gid)[: os.sysconf("SC_NGROUPS_MAX")]
    # Root's working folder may be closed to the account.
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups, "cwd": "/"}


def output_lines(argv: Sequence[str], *, ended: Callable[[Completed], None]) -> Iterator[bytes]:
    """Yield a program's output line by line while it runs; then call `ended` with its exit code and error output.

    A caller that stops reading kills the program. Raises SystemRefused if it cannot be started.
    """
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
        with program:
            try:
                assert program.stdout is not None
                while line := program.stdout.readline(MAX_LINE):
                    yield line
                program.wait(TIMEOUT)
            finally:
                program.kill()
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
