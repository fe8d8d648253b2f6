"""A real PostgreSQL on loopback with pgbench's tables in it."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.processes import LOOPBACK, BenchmarkFailed, free_port, stop, wait_until_listening

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENTS = 8
_SCALE = 10  # at least as many branches as clients, or they wait for each other's row locks
_LONG = 120  # seconds


def programs() -> Path | None:
    """The folder of the newest installed PostgreSQL's programs, or None."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    on_path = shutil.which("initdb")
    for folder in [*reversed(folders), *([Path(on_path).parent] if on_path else [])]:
        if all((folder / name).exists() for name in ("initdb", "postgres", "pgbench")):
            return folder
    return None


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[int]:
    """Run a server of these programs with pgbench's tables; yields its port.

    It does not sync to disk: what is compared is the way to it.
    """
    account = _account()
    uid, gid, groups = (account.pw_uid, account.pw_gid, ()) if account else (None, None, None)
    with tempfile.TemporaryDirectory(prefix="bench-postgres-") as name:
        home = Path(name)
        if account:
            os.chown(home, account.pw_uid, account.pw_gid)
        log, port = home / "log", free_port()
        make = [str(folder / "initdb"), "-D", "data", "-A", "trust", "-U", "bench", "--no-sync"]
        settings = (f"listen_addresses={LOOPBACK}", f"port={port}", "unix_socket_directories=", "fsync=off")
        serve = [str(folder / "postgres"), "-D", "data", *(word for setting in settings for word in ("-c", setting))]
        with log.open("wb") as output:
            subprocess.run(
                make, check=True, stdout=output, cwd=home, user=uid, group=gid, extra_groups=groups, timeout=_LONG
            )
            server = subprocess.Popen(
                serve, stdout=output, stderr=output, cwd=home, user=uid, group=gid, extra_groups=groups
            )
        try:
            wait_until_listening(port, [server], log)
            pgbench(folder, port, "-i", "-q", "-s", str(_SCALE))
            yield port
        finally:
            stop(server)


def transactions_per_second(folder: Path, port: int, *options: str, seconds: int) -> float:
    """Pgbench's own figure for 8 clients, connecting not included; a failed transaction is a failure."""
    said = pgbench(folder, port, "-n", "-c", str(CLIENTS), "-T", str(seconds), *options)
    figure = re.search(r"^tps = ([\d.]+)", said, re.MULTILINE)
    failed = re.search(r"^number of failed transactions: (\d+)", said, re.MULTILINE)
    if figure is None or (failed and failed[1] != "0"):
        raise BenchmarkFailed(f"pgbench: {said[-300:]}")
    return float(figure[1])


def pgbench(folder: Path, port: int, *options: str) -> str:
    """Run pgbench against this port and return what it says; raises BenchmarkFailed."""
    argv = [str(folder / "pgbench"), "-h", LOOPBACK, "-p", str(port), "-U", "bench", *options, "postgres"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_LONG, check=False)
    if done.returncode != 0:
        raise BenchmarkFailed(f"pgbench: {done.stderr[-300:]}")
    return done.stdout


def _account() -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root: the account to run it as then."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise BenchmarkFailed("no account to run PostgreSQL as")
