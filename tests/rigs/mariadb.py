"""A real MariaDB on a free port of 127.0.0.1, in a folder of its own; as root it runs as another user."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes

if TYPE_CHECKING:
    import subprocess

USER = "pipeline"
PASSWORD = "pipeline's own"
DATABASE = "orders"


class Mariadb:
    """One server with the database `orders`, whose user signs in with a password over TCP."""

    def __init__(self) -> None:
        self.install_db = processes.need_program("mariadb-install-db", package="mariadb-server")
        self.server = processes.need_program("mariadbd", package="mariadb-server")
        self.client = processes.need_program("mariadb", package="mariadb-client")
        self.dump = processes.need_program("mysqldump", package="mariadb-client")
        self.port = 0
        self._user = processes.account_for_server("mysql")  # it refuses root
        # Not pytest's tmp_path: its parents are closed to the user that the server runs as, and a socket's path
        # may have 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="ioconnect-mariadb-"))
        self._process: subprocess.Popen[bytes] | None = None
        if self._user is not None:
            shutil.chown(self.folder, self._user)

    def start(self) -> None:
        """Make the data folder if there is none, start the server and wait until it answers a query."""
        data = self.folder / "data"
        fresh = not data.exists()
        if fresh:
            argv = [self.install_db, "--no-defaults", f"--datadir={data}", "--skip-test-db"]
            processes.checked(
                [*argv, "--auth-root-authentication-method=normal"], user=self._user, cwd=self.folder, deadline=120
            )
        self.port = self.port or processes.free_port()
        argv = [
            *(self.server, "--no-defaults", f"--datadir={data}", f"--port={self.port}", "--bind-address=127.0.0.1"),
            *(f"--socket={self.folder / 'sock'}", f"--pid-file={self.folder / 'pid'}", "--skip-log-bin"),
            "--innodb-flush-log-at-trx-commit=0",  # nothing here must survive this machine
        ]
        log = self.folder / "mariadb.log"
        self._process = process = processes.start(argv, log=log, user=self._user, cwd=self.folder)

        def answers() -> bool:
            if process.poll() is not None:
                pytest.fail(f"MariaDB does not start:\n{log.read_text()}")
            return processes.run(self._as_root("select 1"), deadline=10).returncode == 0

        processes.wait_until(answers, deadline=60, what="MariaDB answers")
        if fresh:
            password = PASSWORD.replace("'", "''")
            processes.checked(
                self._as_root(
                    f"create database {DATABASE}; create user {USER}@'127.0.0.1' identified by '{password}';"
                    f"grant all on {DATABASE}.* to {USER}@'127.0.0.1';"
                )
            )

    @property
    def socket(self) -> Path:
        """Its Unix socket."""
        return self.folder / "sock"

    def stop(self) -> None:
        """End the server, dropping its connections; twice is fine."""
        if self._process is not None:
            processes.end(self._process, deadline=30)
            self._process = None

    def remove(self) -> None:
        """End the server and remove everything it wrote."""
        self.stop()
        shutil.rmtree(self.folder)

    def administer(self, sql: str) -> str:
        """Return what the query answers root, over the Unix socket."""
        return processes.checked(self._as_root(sql)).strip()

    def _as_root(self, sql: str) -> list[str]:
        return [self.client, "--no-defaults", f"--socket={self.folder / 'sock'}", "-u", "root", "-N", "-B", "-e", sql]

    def _over_tcp(self, port: int) -> list[str]:
        return ["--no-defaults", "--protocol=tcp", "-h", "127.0.0.1", "-P", str(port), "-u", USER]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "MYSQL_PWD": PASSWORD}

    def query(self, port: int, sql: str) -> str:
        """Return what the query answers through `port` of 127.0.0.1: its own, or the jumphost's."""
        argv = [self.client, *self._over_tcp(port), "-N", "-B", "-D", DATABASE, "-e", sql]
        return processes.checked(argv, env=self._environment()).strip()

    def dump_sha256(self, port: int) -> tuple[int, str]:
        """Dump the database through `port` of 127.0.0.1; return the dump's length and SHA-256."""
        argv = [self.dump, *self._over_tcp(port), "--single-transaction", "--skip-dump-date", DATABASE]
        text = processes.checked(argv, env=self._environment(), deadline=120)
        return len(text), hashlib.sha256(text.encode()).hexdigest()
