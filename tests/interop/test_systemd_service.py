"""`install-service` on a real systemd, with the real agent and a real sshd: boot, failure, reload, removal."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.rigs import processes
from tests.rigs.sshd import Sshd
from tests.rigs.systemd_box import SystemdBox, install_program

if TYPE_CHECKING:
    from collections.abc import Iterator

UNIT = "ioconnect.service"
UNIT_FILE = "/etc/systemd/system/ioconnect.service"
HOME = "/opt/100% a&b"  # characters that units, shells and XML each have a use for
CONFIG = "/etc/ioconnect/config.toml"
UNREACHABLE_SOON = 12.0  # seconds in which an agent notices and says that the jumphost is gone


class Echo:
    """The database: a service on loopback that sends back what it gets."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                while got := connection.recv(4096):
                    connection.sendall(got)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


class Site:
    """A machine with a booted systemd and a registered, pinned tunnel to the jumphost; nothing installed yet."""

    def __init__(self, box: SystemdBox, sshd: Sshd, echo: Echo) -> None:
        self.box, self.sshd = box, sshd
        self.port = processes.free_port()
        self.command = install_program(box, HOME)
        sshd.authorize(self.ioconnect("keygen"), self.port)
        ssh = ("--ssh-port", str(sshd.port), "--ssh-user", sshd.user)
        self.ioconnect(
            "register", "orders", "--endpoint", f"localhost:{self.port}", "--to", f"localhost:{echo.port}", *ssh
        )
        self.ioconnect("pin", "--fingerprint", sshd.fingerprint)

    def ioconnect(self, *arguments: str, expect: int = 0) -> str:
        return self.box.run(self.command, *arguments, expect=expect)

    def install(self, *arguments: str) -> None:
        self.ioconnect("install-service", "--kind", "systemd", *arguments)

    def tunnel(self) -> dict[str, Any]:
        done = self.box.try_run(self.command, "status", "--json")
        tunnels = json.loads(done.stdout)["tunnels"] if done.stdout else []
        return tunnels[0] if tunnels else {}

    def wait_connected(self, *, deadline: float = 30) -> None:
        """Wait until status says so, and then believe only bytes that went through."""
        try:
            processes.wait_until(
                lambda: self.tunnel().get("state") == "connected", deadline=deadline, what="the tunnel is connected"
            )
        except BaseException as failed:
            failed.args = (f"{failed}\n{self.tunnel()}\n--- journal\n{self.box.journal()}",)
            raise
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as pipeline:
            pipeline.sendall(b"select 1")
            assert pipeline.recv(64) == b"select 1"

    def agent_pid(self) -> int:
        return int(self.box.show(UNIT, "MainPID"))

    def started_again(self, before: int, *, deadline: float) -> None:
        processes.wait_until(
            lambda: self.agent_pid() not in (0, before), deadline=deadline, what="systemd starts the agent again"
        )


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    box, echo = SystemdBox(), Echo()
    with tempfile.TemporaryDirectory() as folder:
        sshd = Sshd(Path(folder))
        try:
            sshd.start()
            box.boot()
            yield Site(box, sshd, echo)
        finally:
            box.close()
            sshd.stop()
            echo.close()


@pytest.fixture
def service(site: Site) -> Iterator[Site]:
    """The same with the service installed and connected; as it was afterwards, whatever the test did."""
    before = site.box.path(CONFIG).read_bytes()
    site.install()
    try:
        site.wait_connected()
        yield site
    finally:
        site.box.path(CONFIG).write_bytes(before)
        site.ioconnect("uninstall-service", "--kind", "systemd")


def test_it_is_active_and_says_what_it_does(service: Site) -> None:
    status_text = processes.wait_until(lambda: service.box.show(UNIT, "StatusText"))

    assert service.box.show(UNIT, "ActiveState") == "active"
    assert "connected" in status_text


def test_it_comes_back_after_a_reboot_with_nobodys_help(service: Site) -> None:
    service.box.reboot()

    service.wait_connected()


def test_it_is_active_without_a_jumphost_and_connects_when_there_is_one(service: Site) -> None:
    service.sshd.stop()
    try:
        service.box.reboot()

        processes.wait_until(lambda: service.box.show(UNIT, "ActiveState") == "active", what="the service is active")
        processes.wait_until(lambda: "unreachable" in str(service.tunnel()), what="status says why")
        assert service.box.show(UNIT, "NRestarts") == "0"
    finally:
        service.sshd.start()
    service.wait_connected()


def test_it_is_started_again_when_it_was_killed(service: Site) -> None:
    before = service.agent_pid()

    service.box.run("kill", "-KILL", str(before))

    service.started_again(before, deadline=20)
    service.wait_connected()


def test_the_watchdog_ends_an_agent_that_hangs(service: Site) -> None:
    before = service.agent_pid()

    service.box.run("kill", "-STOP", str(before))

    service.started_again(before, deadline=80)
    assert "watchdog" in service.box.console_text().lower()
    service.wait_connected()


def test_a_broken_configuration_fails_at_once_and_is_not_tried_again(service: Site) -> None:
    service.box.path(CONFIG).write_text("schema = 1\n[tunnels.orders]\nendpoint = 'nonsense'\n")

    done = service.box.try_run("systemctl", "restart", UNIT)

    assert done.returncode != 0
    assert service.box.show(UNIT, "ActiveState") == "failed"
    assert service.box.show(UNIT, "ExecMainStatus") == "78"
    assert service.box.show(UNIT, "NRestarts") == "0"
    assert "tunnels.orders.endpoint" in service.box.journal()


def test_reload_keeps_the_agent_and_its_tunnels(service: Site) -> None:
    before = service.agent_pid()
    config = service.box.path(CONFIG)
    config.write_text(config.read_text().replace("[tunnels.orders]", "[tunnels.other]"))

    service.box.run("systemctl", "reload", UNIT)

    processes.wait_until(lambda: service.tunnel().get("name") == "other", what="the new tunnel is there")
    service.wait_connected()
    assert service.agent_pid() == before
    assert service.box.show(UNIT, "ActiveState") == "active"


def test_stopping_it_frees_the_port_at_once(service: Site) -> None:
    service.box.run("systemctl", "stop", UNIT)

    assert not processes.listens(service.port)
    assert service.box.show(UNIT, "Result") == "success"


def test_nobody_else_can_read_the_identity(service: Site) -> None:
    """Neither the file nor the copy that systemd hands to the agent."""
    pid = service.agent_pid()
    for path in ("/etc/ioconnect/id_ed25519", f"/run/credentials/{UNIT}/ssh-key"):
        assert service.box.try_run("test", "-r", path).returncode == 0
        read = service.box.try_run("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "cat", path)

        assert read.returncode != 0
        assert "Permission denied" in read.stderr
    environment = service.box.run("cat", f"/proc/{pid}/environ")
    assert "PRIVATE KEY" not in environment


def test_it_runs_as_nobody_in_particular_and_without_rights(service: Site) -> None:
    status = dict(
        line.split(":\t", 1) for line in service.box.run("cat", f"/proc/{service.agent_pid()}/status").splitlines()
    )

    assert int(status["Uid"].split()[0]) >= 61184  # the range of dynamic users (systemd.exec(5))
    assert [status[name].strip() for name in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")] == [
        "0" * 16,
        "0" * 16,
        "1",
        "2",
    ]


def test_its_exposure_is_small(service: Site) -> None:
    found = json.loads(service.box.run("systemd-analyze", "security", "--json=short", UNIT))
    overall = service.box.run("systemd-analyze", "security", "--no-pager", UNIT).rstrip().splitlines()[-1]
    score = float(overall.split(":")[1].split()[0])

    assert found
    assert score <= 1.5


def test_systemd_has_nothing_to_say_about_the_unit(service: Site) -> None:
    done = service.box.try_run("systemd-analyze", "verify", UNIT_FILE)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_installing_again_changes_nothing(service: Site) -> None:
    before = (service.agent_pid(), service.box.path(UNIT_FILE).stat().st_mtime_ns)

    service.install()

    assert (service.agent_pid(), service.box.path(UNIT_FILE).stat().st_mtime_ns) == before


def test_a_unit_that_somebody_changed_is_replaced_only_on_request(service: Site) -> None:
    unit = service.box.path(UNIT_FILE)
    original = unit.read_text()
    unit.write_text(original.replace("Restart=always", "Restart=no"))

    refused = service.box.try_run(service.command, "install-service", "--kind", "systemd")

    assert refused.returncode == 73
    assert "-Restart=no\n+Restart=always\n" in refused.stderr
    assert "Restart=no" in unit.read_text()
    service.install("--force")
    assert unit.read_text() == original
    service.wait_connected()


def test_nothing_is_left_when_it_cannot_start(site: Site) -> None:
    """Installing is all or nothing; the reason is the agent's own."""
    pins = site.box.path("/etc/ioconnect/known_hosts")
    pinned = pins.read_bytes()
    pins.write_bytes(b"")
    try:
        done = site.box.try_run(site.command, "install-service", "--kind", "systemd")
    finally:
        pins.write_bytes(pinned)

    assert done.returncode == 71
    assert "no host key is pinned" in done.stderr
    assert traces(site.box) == []


def test_uninstalling_leaves_nothing(site: Site) -> None:
    site.install()
    site.wait_connected()

    site.ioconnect("uninstall-service", "--kind", "systemd")

    assert traces(site.box) == []
    assert not processes.listens(site.port)
    done = site.box.try_run(site.command, "uninstall-service", "--kind", "systemd")
    assert (done.returncode, "is not installed" in done.stderr) == (0, True)


def traces(box: SystemdBox) -> list[str]:
    """Return what is left of a service: files, units, accounts, processes."""
    files = box.run(
        *("find", "/etc/systemd", "/run/systemd", "/var/lib", "/run", "-xdev", "-name", "*ioconnect*"),
        *("-not", "-path", "*/dpkg/*"),
    ).splitlines()
    units = box.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "ioconnect*").splitlines()
    account = box.try_run("getent", "passwd", "ioconnect").stdout.splitlines()
    running = [
        line for line in box.run("ps", "-A", "-o", "args=").splitlines() if "ioconnect" in line and " up" in line
    ]
    return files + units + account + running
