"""A real PostgreSQL on a free port of 127.0.0.1, in a folder of its own; as root it runs as another user."""

from __future__ import annotations

import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes

if TYPE_CHECKING:
    import subprocess

ROLE = "postgres"


def _newest_binaries() -> list[str]:
    """Return Debian's folders of PostgreSQL programs, newest first; they are not in PATH."""
    folders = Path("/usr/lib/postgresql").glob("*/bin")
    return [str(f) for f in sorted(folders, key=lambda f: [int(n) for n in f.parent.name.split(".")], reverse=True)]


class Postgres:
    """One server; `port` is valid from `start` on. Everybody who connects from loopback is the superuser."""

    def __init__(self) -> None:
        folders = _newest_binaries()
        self.initdb = processes.need_program("initdb", *folders, package="postgresql")
        self.server = processes.need_program("postgres", *folders, package="postgresql")
        self.psql = processes.need_program("psql", *folders, package="postgresql-client")
        self.pgbench = processes.need_program("pgbench", *folders, package="postgresql")
        self.port = 0
        self._user = processes.account_for_server("postgres")  # it refuses root
        # Not pytest's tmp_path: its parents are closed to the user that the server runs as.
        self.folder = Path(tempfile.mkdtemp(prefix="ioconnect-postgres-"))
        self._process: subprocess.Popen[bytes] | None = None
        if self._user is not None:
            shutil.chown(self.folder, self._user)

    def start(self) -> None:
        """Make the cluster if there is none, start the server and wait until it answers a query."""
        cluster = self.folder / "cluster"
        if not cluster.exists():
            argv = [self.initdb, "-D", str(cluster), "-U", ROLE, "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]
            processes.checked(argv, user=self._user, cwd=self.folder)
        self.port = self.port or processes.free_port()
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",  # nothing here must survive this machine
            "max_connections": "50",
        }
        argv = [self.server, "-D", str(cluster), *(f"--{name}={value}" for name, value in settings.items())]
        log = self.folder / "postgres.log"
        self._process = process = processes.start(argv, log=log, user=self._user, cwd=self.folder)

        def answers() -> bool:
            if process.poll() is not None:
                pytest.fail(f"PostgreSQL does not start:\n{log.read_text()}")
            return processes.run(self._psql(self.port, "select 1"), deadline=10).returncode == 0

        processes.wait_until(answers, deadline=30, what="PostgreSQL answers")

    @property
    def socket(self) -> Path:
        """Its Unix socket."""
        return self.folder / f".s.PGSQL.{self.port}"

    def stop(self) -> None:
        """End the server, dropping its connections; twice is fine."""
        if self._process is not None:
            processes.end(self._process, by=signal.SIGINT)  # "fast" shutdown, see postgres(1)
            self._process = None

    def remove(self) -> None:
        """End the server and remove everything it wrote."""
        self.stop()
        shutil.rmtree(self.folder)

    def _psql(self, port: int, sql: str) -> list[str]:
        return [
            self.psql,
            "-X",
            "-A",
            "-t",
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
            "-U",
            ROLE,
            "-d",
            "postgres",
            "-c",
            sql,
        ]

    def query(self, port: int, sql: str) -> str:
        """Return what the query answers through `port` of 127.0.0.1: its own, or the jumphost's."""
        return processes.checked(self._psql(port, sql)).strip()

    def bench(self, port: int, *arguments: str, deadline: float = 60) -> str:
        """Run pgbench through `port` of 127.0.0.1 and return its report."""
        target = ["-h", "127.0.0.1", "-p", str(port), "-U", ROLE, "postgres"]
        return processes.checked([self.pgbench, *arguments, *target], deadline=deadline)
