"""A machine with a booted systemd and this ioconnect on it, a real sshd as its jumphost, a tiny database."""

from __future__ import annotations

import contextlib
import json
import socket
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.rigs import processes
from tests.rigs.sshd import Sshd
from tests.rigs.systemd_box import SystemdBox, install_program

if TYPE_CHECKING:
    from collections.abc import Iterator

UNIT = "ioconnect.service"
CONFIG = "/etc/ioconnect/config.toml"
HOME = "/opt/100% a&b"  # characters that units, shells and XML each have a use for


class Echo:
    """The database: a service on loopback that sends back what it gets. `close` and `start` may follow each other."""

    def __init__(self) -> None:
        self.port = processes.free_port()
        self.start()

    def start(self) -> None:
        """Listen."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(ConnectionError):
                while got := connection.recv(4096):
                    connection.sendall(got)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


class Site:
    """Nothing is set up until `set_up`, which may be called for several accounts."""

    def __init__(self, box: SystemdBox, sshd: Sshd, echo: Echo) -> None:
        self.box, self.sshd, self.echo = box, sshd, echo
        self.command = install_program(box, HOME)

    def as_user(self, account: str) -> Owner:
        """Return the machine as this account sees it; made if there is none."""
        if account != "root" and self.box.try_run("getent", "passwd", account).returncode != 0:
            self.box.run("useradd", "--create-home", "--shell", "/bin/bash", account)
        return Owner(self, account)


class Owner:
    """An account on the machine, and its tunnel."""

    def __init__(self, site: Site, account: str) -> None:
        self.site, self.box, self.account = site, site.box, account
        self.uid = int(site.box.run("id", "-u", account))
        self.port = 0
        home = site.box.run("getent", "passwd", account).split(":")[5]
        bus = f"XDG_RUNTIME_DIR=/run/user/{self.uid}"
        self._prefix = ("runuser", "-u", account, "--", "env", f"HOME={home}", f"USER={account}", bus)

    def try_run(self, *argv: str, **how: Any) -> Any:
        """Run a command as this account and return code, stdout and stderr."""
        return self.box.try_run(*(() if self.account == "root" else self._prefix), *argv, **how)

    def run(self, *argv: str, **how: Any) -> str:
        """The same for one that must succeed; returns its standard output."""
        return self.box.run(*(() if self.account == "root" else self._prefix), *argv, **how)

    def ioconnect(self, *arguments: str, expect: int = 0) -> str:
        return self.run(self.site.command, *arguments, expect=expect)

    def try_ioconnect(self, *arguments: str) -> Any:
        return self.try_run(self.site.command, *arguments)

    def set_up(self, name: str = "orders") -> None:
        """Make key, registration and pin for a tunnel of one's own."""
        sshd, self.port = self.site.sshd, processes.free_port()
        sshd.authorize(self.ioconnect("keygen"), self.port)
        ssh = ("--ssh-port", str(sshd.port), "--ssh-user", sshd.user)
        target = f"localhost:{self.site.echo.port}"
        self.ioconnect("register", name, "--endpoint", f"localhost:{self.port}", "--to", target, *ssh)
        self.ioconnect("pin", name, "--fingerprint", sshd.fingerprint)

    def status(self) -> dict[str, Any]:
        """Return `status --json`, {} if it could not be told."""
        done = self.try_ioconnect("status", "--json")
        parsed: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
        return parsed

    def tunnel(self, name: str | None = None) -> dict[str, Any]:
        """Return the first tunnel's part of it, or that of this one; {} if it is not there."""
        tunnels: list[dict[str, Any]] = self.status().get("tunnels") or []
        return next((tunnel for tunnel in tunnels if name in (None, tunnel["name"])), {})

    def wait_connected(self, name: str | None = None, *, port: int = 0, deadline: float = 30) -> None:
        """Wait until status says so, of the first tunnel or this one, and then believe only bytes that arrive."""
        try:
            processes.wait_until(
                lambda: self.tunnel(name).get("state") == "connected", deadline=deadline, what="it is connected"
            )
            with socket.create_connection(("127.0.0.1", port or self.port), timeout=10) as pipeline:
                pipeline.sendall(b"select 1")
                assert pipeline.recv(64) == b"select 1"
        except BaseException as failed:
            journal = self.box.try_run("journalctl", "--boot", "--lines=80", "--output=short-precise").stdout
            ours = f"sport = :{port or self.port} or dport = :{port or self.port}"
            sockets = processes.run(["ss", "-tan", ours]).stdout
            told = ("journal", journal), ("sockets", sockets), ("sshd", self.site.sshd.log_text()[-8000:])
            parts = "".join(f"\n--- {what}\n{text}" for what, text in told)
            failed.args = (f"{failed!r}\n{self.status()}{parts}",)
            raise


class Machine:
    """A site whose root has the registered and pinned tunnel `orders`; nothing is installed yet."""

    def __init__(self, site: Site) -> None:
        self.site, self.box, self.sshd = site, site.box, site.sshd
        self.root = site.as_user("root")
        self.root.set_up()

    def install(self, *arguments: str) -> None:
        self.root.ioconnect("install-service", "--kind", "systemd", *arguments)

    def agent_pid(self) -> int:
        return int(self.box.show(UNIT, "MainPID"))

    def wait_for_another(self, before: int, *, deadline: float) -> None:
        processes.wait_until(
            lambda: self.agent_pid() not in (0, before), deadline=deadline, what="systemd starts the agent again"
        )


@contextlib.contextmanager
def booted_site() -> Iterator[Site]:
    """Yield a booted machine, a running sshd and a database; none of it is there afterwards."""
    with contextlib.ExitStack() as ends, tempfile.TemporaryDirectory() as folder:
        box = SystemdBox()
        ends.callback(box.close)
        echo = Echo()
        ends.callback(echo.close)
        sshd = Sshd(Path(folder))
        ends.callback(sshd.stop)
        sshd.start()
        box.boot()
        yield Site(box, sshd, echo)
