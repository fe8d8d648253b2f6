"""What the system's service says and does while one tunnel, the database, or the service itself is not well."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes
from tests.rigs.site import CONFIG, UNIT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rigs.site import Machine

KEY = "/etc/ioconnect/stock_key"
DROP_IN = f"/run/systemd/system/{UNIT}.d/spoilt.conf"
SEEN, HIDDEN = "/run/database.sock", "/tmp/database.sock"
ECHO = """
import os, socketserver, sys
class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        while got := self.request.recv(4096):
            self.request.sendall(got)
os.umask(0)
socketserver.ThreadingUnixStreamServer(sys.argv[1], Handler).serve_forever()
"""


@pytest.fixture
def stock(machine: Machine) -> Iterator[int]:
    """A second tunnel, `stock`, with a key of its own; its port. What the test installed is removed."""
    root, config, port = machine.root, machine.box.path(CONFIG), processes.free_port()
    before = config.read_bytes()
    machine.sshd.authorize(root.ioconnect("keygen", "--file", KEY), port, root.port)
    ssh = ("--ssh-port", str(machine.sshd.port), "--ssh-user", machine.sshd.user)
    target = f"localhost:{machine.site.echo.port}"
    root.ioconnect("register", "stock", "--endpoint", f"localhost:{port}", "--to", target, *ssh)
    config.write_text(config.read_text().replace("[tunnels.stock]", f'[tunnels.stock]\nidentity = "{KEY}"'))
    yield port
    root.ioconnect("uninstall-service", "--kind", "systemd")
    machine.box.path(CONFIG).write_bytes(before)
    machine.box.run("rm", "-f", KEY, f"{KEY}.pub")


def _reboot_without_the_key(machine: Machine) -> None:
    """Take the key away, reboot, and see that the others carry and that systemd says which one does not."""
    machine.box.run("mv", KEY, f"{KEY}.aside")
    machine.box.reboot()
    machine.root.wait_connected("orders")
    said = processes.wait_until(
        lambda: "stock" in (text := machine.box.show(UNIT, "StatusText")) and text,
        what="systemd's status line names the tunnel",
        instead=lambda: machine.box.show(UNIT, "StatusText"),
    )
    assert "1 of 2 connected" in str(said)
    assert machine.box.show(UNIT, "ActiveState") == "active"
    assert machine.box.show(UNIT, "NRestarts") == "0"
    assert machine.root.tunnel("stock")["state"] == "held"
    assert machine.root.tunnel("stock")["reason"]["code"] == "identity_missing"


def test_a_key_that_is_missing_at_boot_keeps_no_other_tunnel_down(machine: Machine, stock: int) -> None:
    """The account cannot read root's key, which systemd hands over at a start: so it says how to go on."""
    machine.install()
    _reboot_without_the_key(machine)

    machine.box.run("mv", f"{KEY}.aside", KEY)
    reason = processes.wait_until(
        lambda: (found := machine.root.tunnel("stock")["reason"])["code"] == "identity_unreadable" and found,
        what="the key is seen",
    )

    assert "sudo systemctl restart ioconnect" in reason["hint"]
    machine.box.run("systemctl", "restart", UNIT)
    machine.root.wait_connected("stock", port=stock)
    machine.root.wait_connected("orders")


def test_a_key_of_the_accounts_own_heals_its_tunnel_without_a_restart(machine: Machine, stock: int) -> None:
    machine.box.run("useradd", "--system", "--shell", "/usr/sbin/nologin", "keeper")
    machine.box.run("chown", "keeper", KEY)
    machine.install("--run-as", "keeper")
    unit = machine.box.run("systemctl", "cat", UNIT)  # root reads no file that the account could replace
    assert ("LoadCredential=ssh-key:" in unit, "LoadCredential=ssh-key.stock:" in unit) == (True, False)
    _reboot_without_the_key(machine)
    before = machine.agent_pid()

    machine.box.run("mv", f"{KEY}.aside", KEY)

    machine.root.wait_connected("stock", port=stock)
    assert machine.agent_pid() == before
    assert machine.box.show(UNIT, "StatusText") == "2 of 2 connected"


def test_the_status_line_says_that_the_database_is_down(service: Machine) -> None:
    """Systemd said "1 of 1 connected" to the end."""
    echo = service.site.echo
    echo.close()
    try:
        pipeline = socket.create_connection(("127.0.0.1", service.root.port), timeout=20)
        with pipeline, suppress(ConnectionError):
            assert pipeline.recv(1) == b""
        processes.wait_until(
            lambda: "1 target down; orders: cannot connect to" in service.box.show(UNIT, "StatusText"),
            what="systemd says it",
            instead=lambda: service.box.show(UNIT, "StatusText"),
        )
        assert service.root.try_ioconnect("status", "--check").returncode == 75
    finally:
        echo.start()
    processes.wait_until(
        lambda: service.box.show(UNIT, "StatusText") == "1 of 1 connected",
        deadline=40,
        what="the probe finds that it answers again",
        instead=lambda: service.box.show(UNIT, "StatusText"),
    )
    assert service.root.try_ioconnect("status", "--check").returncode == 0


def test_a_service_that_failed_is_started_by_systemd(service: Machine) -> None:
    """An agent that `ioconnect up --daemon` starts would have no sandbox, and be run by root."""
    box, program = service.box, service.site.command.replace("%", "%%")
    box.path(DROP_IN).parent.mkdir(parents=True)
    box.path(DROP_IN).write_text(f'[Service]\nExecStart=\nExecStart="{program}" --no-such-option up\n')
    box.run("systemctl", "daemon-reload")
    try:
        assert box.try_run("systemctl", "restart", UNIT).returncode != 0
        processes.wait_until(lambda: box.show(UNIT, "ActiveState") == "failed", what="a usage error keeps it down")
        done = service.root.try_ioconnect("status")
    finally:
        box.path(DROP_IN).unlink()
        box.run("systemctl", "daemon-reload")
    said = " ".join(done.stdout.split())

    assert done.returncode == 69
    assert f"its service {UNIT} has failed: systemctl status {UNIT} says why, " in said
    assert f", systemctl start {UNIT} starts it" in said
    assert "up --daemon" not in said
    box.run("systemctl", "start", UNIT)
    service.root.wait_connected()


@pytest.mark.parametrize("arguments", [("up",), ("up", "--daemon")])
def test_root_starts_no_agent_by_hand_beside_the_service(service: Machine, arguments: tuple[str, ...]) -> None:
    """Its files kept the unit from starting."""
    box, root = service.box, service.root
    box.run("systemctl", "stop", UNIT)
    owners = ("find", "/var/lib/private/ioconnect", "/var/log/ioconnect", "-printf", "%p %U\\n")
    before = box.try_run(*owners).stdout

    refused = root.try_ioconnect(*arguments)

    assert refused.returncode == 71
    assert f"systemctl start {UNIT}" in refused.stderr
    assert box.try_run(*owners).stdout == before
    box.run("systemctl", "start", UNIT)
    root.wait_connected()


# --- databases at Unix sockets


@pytest.fixture
def databases(machine: Machine) -> Iterator[None]:
    """A service that echoes, at both paths, for every account; afterwards `orders` is as it was."""
    before = machine.box.path(CONFIG).read_bytes()
    units = {"seen": SEEN, "hidden": HIDDEN}
    for unit, path in units.items():
        machine.box.run("systemd-run", f"--unit={unit}", "/usr/bin/python3", "-c", ECHO, path)
        there = ("test", "-S", path)
        processes.wait_until(lambda argv=there: machine.box.try_run(*argv).returncode == 0, what="it listens")
    yield
    machine.root.ioconnect("uninstall-service", "--kind", "systemd")
    machine.box.path(CONFIG).write_bytes(before)
    for unit, path in units.items():
        machine.box.run("systemctl", "stop", unit)
        machine.box.run("rm", path)


def lead_to(machine: Machine, path: str) -> None:
    """Have `orders` lead to a socket."""
    endpoint, ssh = f"localhost:{machine.root.port}", ("--ssh-port", str(machine.sshd.port))
    target = ("--to", f"unix:{path}", "--ssh-user", machine.sshd.user, "--force")
    machine.root.ioconnect("register", "orders", "--endpoint", endpoint, *ssh, *target)


@pytest.mark.usefixtures("databases")
def test_the_service_reaches_a_socket_that_its_sandbox_shows(machine: Machine) -> None:
    """And of one that is hidden the installation, `doctor` and the status tell."""
    lead_to(machine, SEEN)
    machine.install()
    machine.root.wait_connected("orders")  # bytes through it

    lead_to(machine, HIDDEN)
    again = machine.root.try_ioconnect("install-service", "--kind", "systemd")
    assert f"does not see the socket {HIDDEN}" in again.stderr
    facts = json.loads(machine.root.try_ioconnect("doctor", "--json").stdout)["machine"]
    fact = next(fact for fact in facts if fact["id"] == "sockets")
    assert (fact["status"], HIDDEN in fact["detail"]) == ("warn", True)
    machine.root.ioconnect("reload")

    def refused() -> str:
        with (
            suppress(ConnectionError),
            socket.create_connection(("127.0.0.1", machine.root.port), timeout=10) as asked,
        ):
            assert asked.recv(1) == b""
        reason: dict[str, str] | None = machine.root.tunnel("orders")["target_state"]["reason"]
        return reason["message"] if reason else ""

    assert (
        processes.wait_until(refused, what="a connection fails")
        == f"cannot connect to unix:{HIDDEN}: {HIDDEN}: No such file or directory"
    )
