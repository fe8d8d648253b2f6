"""Processes and waiting for the tests: every wait has a deadline, every process a known end.

Processes that a test starts through `start` are registered; those that detach themselves (the agent) are found by the
mark that `tests/conftest.py` puts in the environment. `leftovers` names what is still there of both.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

T = TypeVar("T")

MARK = "TESTS_OF_IOCONNECT"  # in the environment of everything that this session starts
SYSTEM_FOLDERS = ("/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/libexec", "/opt/homebrew/bin")
POLL = 0.02  # seconds
# Below every system's ephemeral range, so that no outgoing connection takes a port between two uses of it.
PORTS = range(20000, 32000)
BLOCK = 100

_started: dict[int, subprocess.Popen[bytes]] = {}
_blocks: list[socket.socket] = []


def wait_until(
    predicate: Callable[[], T], *, deadline: float = 10.0, what: str = "", instead: Callable[[], object] | None = None
) -> T:
    """Return the first true answer of `predicate`; fails the test after `deadline` seconds, and shows `instead`."""
    answer = _answer(predicate, deadline)
    if not answer:
        shown = "" if instead is None else f"\n{instead()}"
        pytest.fail(f"not within {deadline:g} s: {what or predicate}; last answer {answer!r}{shown}")
    return answer


def wait_until_same(look: Callable[[], T], *, seconds: float, deadline: float, what: str) -> T:
    """Return what `look` says once it has said the same for so many seconds; fails the test as `wait_until`."""
    seen, since = look(), time.monotonic()

    def is_same() -> bool:
        nonlocal seen, since
        last, seen = seen, look()
        if seen != last:
            since = time.monotonic()
        return time.monotonic() - since > seconds

    wait_until(is_same, deadline=deadline, what=what, instead=lambda: seen)
    return seen


def _answer(predicate: Callable[[], T], deadline: float) -> T:
    """Return the first true answer within `deadline` seconds, else the last one. Nothing else in the tests sleeps."""
    end = time.monotonic() + deadline
    while not (answer := predicate()) and time.monotonic() <= end:
        time.sleep(POLL)
    return answer


def remove_folder(path: Path) -> None:
    """Remove a folder whole, as `rm -r` does, where a process may be writing a file into it meanwhile."""

    def is_gone() -> bool:
        shutil.rmtree(path, ignore_errors=True)
        return not path.exists()

    wait_until(is_gone, what=f"{path} is removed")


def _own_ports() -> Iterator[int]:
    """Yield ports that no other process of tests hands out: a block belongs to who has its first port bound.

    So two workers, or two runs on one machine, never meet at a port that one of them does not listen on yet.
    """
    for first in random.sample(PORTS[::BLOCK], len(PORTS) // BLOCK):
        owned = socket.socket()
        try:
            owned.bind(("127.0.0.1", first))
        except OSError:
            owned.close()
            continue
        _blocks.append(owned)  # until this process ends
        yield from random.sample(range(first + 1, first + BLOCK), BLOCK - 1)


_ports = _own_ports()


def reserving() -> int:
    """Return how many descriptors of this process keep a block of ports for it: `free_port` may open another."""
    return len(_blocks)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on, and that no later call returns."""
    for port in _ports:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    pytest.fail(f"no free port in {PORTS}")


def listens(port: int, *, host: str = "127.0.0.1") -> bool:
    """Say whether a connection to the port is accepted."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False


def first_bytes(port: int, *, host: str = "127.0.0.1", deadline: float = 10) -> bytes:
    """Return what a server says first."""
    with socket.create_connection((host, port), timeout=deadline) as connection:
        return connection.recv(4096)


def find_program(name: str, *folders: str) -> str | None:
    """Return the program's path, also from folders that an ordinary user's PATH leaves out."""
    path = os.pathsep.join([*folders, os.environ.get("PATH", os.defpath), *SYSTEM_FOLDERS])
    return shutil.which(name, path=path)


def need_program(name: str, *folders: str, package: str) -> str:
    """Return the program's path, or skip the test and name the Debian package that brings it."""
    return find_program(name, *folders) or pytest.skip(f"{name} is not installed (Debian package {package})")


def need_library(pattern: str, *, package: str) -> None:
    """Skip the test where /usr/lib has no such file, and name the Debian package that brings it."""
    if not any(next(Path("/usr/lib").glob(where), None) for where in (pattern, f"*-linux-*/{pattern}")):
        pytest.skip(f"/usr/lib has no {pattern} (Debian package {package})")


def account_for_server(*names: str) -> str | None:
    """Return the first of these accounts, for a server that refuses root; None: whoever runs the tests will do."""
    if os.geteuid() != 0:
        return None
    there = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in (*names, "nobody") if name in there), None)


def _as_user(user: str | None) -> dict[str, Any]:
    """Return what Popen needs to run a process as another user, which only root can."""
    if user is None or os.geteuid() != 0:
        return {}
    account = pwd.getpwnam(user)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def start(
    argv: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    user: str | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process whose output goes to the end of `log`; as root it may run as another `user`."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, cwd=cwd, **_as_user(user)
        )
    _started[process.pid] = process
    return process


def end(process: subprocess.Popen[bytes], *, by: signal.Signals = signal.SIGTERM, deadline: float = 10.0) -> int:
    """End the process, with SIGKILL if it takes longer than `deadline`, and return its code."""
    if process.poll() is None:
        process.send_signal(by)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(deadline)
        except subprocess.TimeoutExpired:
            process.kill()
    code = process.wait(deadline)
    _started.pop(process.pid, None)
    return code


def run(
    argv: Sequence[str],
    *,
    deadline: float = 60.0,
    env: Mapping[str, str] | None = None,
    text_in: str | None = None,
    user: str | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return its code and output; fails the test after `deadline` seconds."""
    how = _as_user(user) | ({"stdin": subprocess.DEVNULL} if text_in is None else {"input": text_in})
    try:
        return subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=deadline,
            env=env,
            cwd=cwd,
            check=False,
            **how,
        )
    except subprocess.TimeoutExpired as slow:
        pytest.fail(f"not done within {deadline:g} s: {' '.join(argv)}\n{slow.stdout!r}\n{slow.stderr!r}")


def checked(argv: Sequence[str], **how: Any) -> str:
    """Run a command that must succeed and return its standard output."""
    done = run(argv, **how)
    assert done.returncode == 0, f"{' '.join(argv)} left with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _process_table() -> dict[int, tuple[int, str]]:
    """Return parent and state letter of every process, by `ps`, which Linux and macOS share."""
    table = {}
    for line in checked([need_program("ps", package="procps"), "-A", "-o", "pid=,ppid=,stat="]).splitlines():
        pid, parent, state = line.split(None, 2)
        table[int(pid)] = (int(parent), state[0])
    return table


def is_alive(pid: int) -> bool:
    """Say whether the process runs; one that ended and waits for its parent does not."""
    if not Path("/proc/self/stat").exists():  # macOS
        return _process_table().get(pid, (0, "Z"))[1] != "Z"
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def has_ended(pid: int, *, deadline: float) -> bool:
    """Wait until the process has ended, for `deadline` seconds, and say whether it has."""
    return _answer(lambda: not is_alive(pid), deadline)


def descendants(pid: int) -> list[int]:
    """Return the process's running children and theirs, parents first."""
    table = _process_table()
    found = [pid]
    for parent in found:
        found += [child for child, (its_parent, state) in table.items() if its_parent == parent and state != "Z"]
    return found[1:]


def signal_all(pids: Iterable[int], what: signal.Signals) -> None:
    """Send a signal to each process that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, what)


def leftovers(mark: str) -> dict[int, str]:
    """Return what the session with this mark, or one of its workers, started and nobody ended: pid → command line."""
    found = {pid: str(process.args) for pid, process in _started.items() if process.poll() is None}
    return found | marked(mark)


def marked(mark: str) -> dict[int, str]:
    """Return the processes whose environment has this mark: pid → command line."""
    found = {}
    needle = f"\0{MARK}={mark}".encode()
    for entry in Path("/proc").glob("[0-9]*"):  # empty on macOS: there the register above must do
        with contextlib.suppress(OSError):
            if int(entry.name) != os.getpid() and needle in b"\0" + (entry / "environ").read_bytes():
                found[int(entry.name)] = (
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
    return found
