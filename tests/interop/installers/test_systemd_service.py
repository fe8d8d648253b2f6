"""`install-service` on a real systemd, with the real agent and a real sshd: boot, failure, reload, removal."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes
from tests.rigs.site import CONFIG, HOME, UNIT

from ioconnect.installers.service import UNIT_NAME

if TYPE_CHECKING:
    from tests.rigs.site import Machine
    from tests.rigs.systemd_box import SystemdBox

UNIT_FILE = "/etc/systemd/system/ioconnect.service"

# What the agent needs beyond the tunnel that the other tests use, tried inside the unit's own walls.
PROBE = """
import os, resource, socket
listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
socket.create_connection(listener.getsockname()[:2], timeout=5).close()
news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
news.bind((0, 0x1 | 0x10 | 0x40 | 0x100 | 0x400))  # RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE
assert socket.getaddrinfo("localhost", 22, type=socket.SOCK_STREAM)
files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
assert files == most > 1024, (files, most)  # 65536, or as many as this machine can give
assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
def refused(path):
    try:
        os.listdir(path) if path.endswith("/") else open(path, "w")
    except OSError:
        return True
assert [path for path in ("/etc/x", "/usr/x", "/var/lib/x", "/root/", "/home/x") if not refused(path)] == []
"""


def test_it_is_active_and_says_what_it_does(service: Machine) -> None:
    status_text = processes.wait_until(lambda: service.box.show(UNIT, "StatusText"))

    assert service.box.show(UNIT, "ActiveState") == "active"
    assert "connected" in status_text


def test_logs_reads_the_journal(service: Machine) -> None:
    lines = service.root.ioconnect("logs", "--since", "1h").splitlines()
    assert [line for line in lines if line.startswith("20") and "Z INFO orders: connected" in line]

    lines = service.root.ioconnect("logs", "orders", "-n", "1").splitlines()
    assert [line.split()[2] for line in lines] == ["orders:"]
    assert service.root.ioconnect("logs", "--level", "error", "--since", "1h") == ""


def test_it_comes_back_after_a_reboot_with_nobodys_help(service: Machine) -> None:
    service.box.reboot()

    service.root.wait_connected()


def test_it_is_active_without_a_jumphost_and_connects_when_there_is_one(service: Machine) -> None:
    service.sshd.stop()
    try:
        service.box.reboot()

        processes.wait_until(lambda: service.box.show(UNIT, "ActiveState") == "active", what="the service is active")
        processes.wait_until(lambda: "unreachable" in str(service.root.tunnel()), what="status says why")
        assert service.box.show(UNIT, "NRestarts") == "0"
    finally:
        service.sshd.start()
    service.root.wait_connected()


def test_it_is_started_again_when_it_was_killed(service: Machine) -> None:
    before = service.agent_pid()

    service.box.run("kill", "-KILL", str(before))

    service.wait_for_another(before, deadline=20)
    service.root.wait_connected()


@pytest.mark.long
def test_the_watchdog_ends_an_agent_that_hangs(service: Machine) -> None:
    before = service.agent_pid()

    service.box.run("kill", "-STOP", str(before))

    service.wait_for_another(before, deadline=80)
    assert "watchdog" in service.box.journal().lower()
    service.root.wait_connected()


def test_a_broken_configuration_fails_at_once_and_is_tried_again_until_it_is_mended(service: Machine) -> None:
    good = service.box.path(CONFIG).read_text()
    service.box.path(CONFIG).write_text("schema = 1\n[tunnels.orders]\nendpoint = 'nonsense'\n")

    done = service.box.try_run("systemctl", "restart", UNIT)

    assert done.returncode != 0
    assert service.box.show(UNIT, "ExecMainStatus") == "78"
    assert "tunnels.orders.endpoint" in service.box.journal()
    service.box.path(CONFIG).write_text(good)
    service.root.wait_connected()


def test_it_outlives_an_update_of_the_interpreter(service: Machine) -> None:
    """The virtual environment's link points elsewhere then; nothing is installed again."""
    box, link, newer = service.box, f"{HOME}/bin/python", "/opt/newer/python3"
    before = box.run("readlink", link).strip()
    box.run("mkdir", "-p", "/opt/newer")
    box.run("cp", "--dereference", link, newer)
    box.run("ln", "-sfn", newer, link)
    try:
        box.run("systemctl", "restart", UNIT)
        service.root.wait_connected()
        assert box.run("readlink", f"/proc/{service.agent_pid()}/exe").strip() == newer
    finally:
        box.run("ln", "-sfn", before, link)


def test_reload_keeps_the_agent_and_its_tunnels(service: Machine) -> None:
    before = service.agent_pid()
    config = service.box.path(CONFIG)
    config.write_text(config.read_text().replace("[tunnels.orders]", "[tunnels.other]"))

    service.box.run("systemctl", "reload", UNIT)

    processes.wait_until(lambda: service.root.tunnel().get("name") == "other", what="the new tunnel is there")
    service.root.wait_connected()
    assert service.agent_pid() == before
    assert service.box.show(UNIT, "ActiveState") == "active"


def test_stopping_it_frees_the_port_at_once(service: Machine) -> None:
    service.box.run("systemctl", "stop", UNIT)

    assert not processes.listens(service.root.port)
    assert service.box.show(UNIT, "Result") == "success"


def test_nobody_else_can_read_the_identity(service: Machine) -> None:
    """Neither the file nor the copy that systemd hands to the agent."""
    pid = service.agent_pid()
    for path in ("/etc/ioconnect/id_ed25519", f"/run/credentials/{UNIT}/ssh-key"):
        assert service.box.try_run("test", "-r", path).returncode == 0
        read = service.box.try_run("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "cat", path)

        assert read.returncode != 0
        assert "Permission denied" in read.stderr
    environment = service.box.run("cat", f"/proc/{pid}/environ")
    assert "PRIVATE KEY" not in environment


def test_it_runs_as_nobody_in_particular_and_without_rights(service: Machine) -> None:
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


def test_an_account_without_a_name_runs_it(service: Machine) -> None:
    """As where libnss-systemd, which Debian only recommends, is not there: it failed, and was started for ever."""
    box = service.box
    names = box.path("/etc/nsswitch.conf")
    before = names.read_text()
    names.write_text(before.replace(" systemd", ""))
    try:
        box.run("systemctl", "restart", UNIT)
        service.root.wait_connected()
        uid = box.run("stat", "-c", "%u", f"/proc/{service.agent_pid()}").strip()
        assert box.try_run("getent", "passwd", uid).returncode == 2  # not found, getent(1)
        assert box.show(UNIT, "NRestarts") == "0"
    finally:
        names.write_text(before)


def test_systemd_and_the_kernel_have_its_limits(service: Machine) -> None:
    """Memory is the kernel's business too where its cgroups have that controller; a container may lack it."""
    limits = {name: service.box.show(UNIT, name) for name in ("MemoryMax", "TasksMax", "CPUWeight")}
    group = f"/sys/fs/cgroup{service.box.show(UNIT, 'ControlGroup')}"
    controllers = service.box.run("cat", f"{group}/cgroup.controllers").split()

    assert limits == {"MemoryMax": str(2 << 30), "TasksMax": "4096", "CPUWeight": "50"}
    assert service.box.run("cat", f"/proc/{service.agent_pid()}/oom_score_adj").strip() == "500"
    for controller, file in (("memory", "memory.max"), ("pids", "pids.max"), ("cpu", "cpu.weight")):
        expected = {"memory.max": str(2 << 30), "pids.max": "4096", "cpu.weight": "50"}[file]
        assert controller not in controllers or service.box.run("cat", f"{group}/{file}").strip() == expected


def test_its_exposure_is_small(service: Machine) -> None:
    found = json.loads(service.box.run("systemd-analyze", "security", "--json=short", UNIT))
    overall = service.box.run("systemd-analyze", "security", "--no-pager", UNIT).rstrip().splitlines()[-1]
    score = float(overall.split(":")[1].split()[0])

    assert found
    assert score <= 1.2


def test_its_walls_leave_what_the_agent_needs_and_nothing_else(service: Machine) -> None:
    box = service.box
    unit = box.path(UNIT_FILE).read_text()
    python = f"{HOME}/bin/python".replace("%", "%%")
    library = f"{HOME}/interpreter/lib".replace("%", "%%")
    changes = {"Type=": "Type=oneshot", "ExecStart=": f'ExecStart="{python}" /opt/probe.py'}
    dropped = ("Restart", "WatchdogSec=", "ExecReload=", "RuntimeDirectory", "StateDirectory")
    lines = [line for line in unit.splitlines() if not line.startswith(dropped)]
    lines = [next((new for start, new in changes.items() if line.startswith(start)), line) for line in lines]
    lines.insert(lines.index("[Service]") + 1, f'Environment="LD_LIBRARY_PATH={library}"')
    box.path("/opt/probe.py").write_text(PROBE)
    box.path("/etc/systemd/system/probe.service").write_text("\n".join(lines) + "\n")
    box.run("systemctl", "daemon-reload")

    done = box.try_run("systemctl", "start", "probe.service")

    assert done.returncode == 0, box.journal("probe.service")


def test_systemd_has_nothing_to_say_about_the_unit(service: Machine) -> None:
    done = service.box.try_run("systemd-analyze", "verify", UNIT_FILE)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_installing_again_changes_nothing(service: Machine) -> None:
    before = (service.agent_pid(), service.box.path(UNIT_FILE).stat().st_mtime_ns)

    service.install()

    assert (service.agent_pid(), service.box.path(UNIT_FILE).stat().st_mtime_ns) == before


def test_a_unit_that_somebody_changed_is_replaced_only_on_request(service: Machine) -> None:
    unit = service.box.path(UNIT_FILE)
    original = unit.read_text()
    unit.write_text(original.replace("Restart=always", "Restart=no"))

    refused = service.root.try_ioconnect("install-service", "--kind", "systemd")

    assert refused.returncode == 73
    assert "-Restart=no\n+Restart=always\n" in refused.stderr
    assert "Restart=no" in unit.read_text()
    service.install("--force")
    assert unit.read_text() == original
    service.root.wait_connected()


def test_an_ordinary_user_sees_the_machines_agent_and_whose_it_is(service: Machine) -> None:
    alice = service.site.as_user("alice")

    seen = alice.try_ioconnect("status", "--json")
    table = alice.try_ioconnect("status")
    down = alice.try_ioconnect("down")

    assert (seen.returncode, table.returncode, down.returncode) == (0, 0, 0)
    assert json.loads(seen.stdout)["agent"]["pid"] == service.agent_pid()
    assert json.loads(seen.stdout)["tunnels"][0]["state"] == "connected"
    assert f"the machine's agent (pid {service.agent_pid()}, account ioconnect" in table.stderr
    assert "sudo systemctl stop ioconnect.service" in down.stderr
    assert alice.try_ioconnect("status", "--check").returncode == 0
    assert "may not read the journal" in alice.try_ioconnect("logs").stderr


def test_an_ordinary_user_sees_that_the_machines_agent_is_frozen(service: Machine) -> None:
    """The snapshot that everybody may read stays what it was."""
    pid = service.agent_pid()
    service.box.run("kill", "-STOP", str(pid))
    try:
        done = service.site.as_user("alice").try_ioconnect("status")
    finally:
        service.box.run("kill", "-CONT", str(pid))

    assert done.returncode == 69
    assert f"no answer from the agent (pid {pid}) within 2 s" in done.stdout


def test_a_service_that_was_stopped_is_started_by_systemd(service: Machine) -> None:
    """`ioconnect up --daemon` as root would start an agent without a sandbox, in the way of the unit."""
    service.box.run("systemctl", "stop", UNIT_NAME)

    for owner, sudo in ((service.root, ""), (service.site.as_user("alice"), "sudo ")):
        done = owner.try_ioconnect("status")
        said = " ".join(done.stdout.split())

        assert done.returncode == 69
        assert f"its service {UNIT_NAME} is not running: systemctl status {UNIT_NAME} says why" in said
        assert f", {sudo}systemctl start {UNIT_NAME} starts it" in said
        assert "up --daemon" not in said


def test_an_ordinary_user_without_it_is_told_that_no_agent_runs(machine: Machine) -> None:
    assert machine.site.as_user("alice").try_ioconnect("status").returncode == 69


def test_down_stops_the_service_so_that_systemd_does_not_start_it_again(service: Machine) -> None:
    pid = service.agent_pid()

    done = service.root.try_ioconnect("down")

    assert done.returncode == 0
    assert f"Stopped the system's service {UNIT_NAME} (pid {pid})." in done.stderr
    assert "ActiveState=inactive" in service.box.run("systemctl", "show", UNIT_NAME)


def test_down_of_a_frozen_service_is_systemds_business_too(service: Machine) -> None:
    pid = service.agent_pid()
    service.box.run("kill", "-STOP", str(pid))

    assert "Stopped" in service.root.try_ioconnect("down").stderr
    assert not service.box.runs(pid)


def test_root_tells_the_services_agent_over_its_socket(service: Machine) -> None:
    """It runs as an account of its own, in a folder that root made for it; others may ask, and not tell."""
    before = service.agent_pid()

    assert "left alone" in service.root.try_ioconnect("reload").stderr
    assert "a keepalive was sent: orders" in service.root.try_ioconnect("reconnect").stderr
    assert service.agent_pid() == before


def test_what_is_registered_and_pinned_later_is_readable_too(service: Machine) -> None:
    """The commands that rewrite root's configuration keep it open to the service's account."""
    root, before = service.root, service.agent_pid()
    port, ssh = processes.free_port(), ("--ssh-port", str(service.sshd.port), "--ssh-user", service.sshd.user)
    service.sshd.authorize(root.ioconnect("keygen"), root.port, port)
    target = f"localhost:{service.site.echo.port}"
    root.ioconnect("register", "second", "--endpoint", f"127.0.0.1:{port}", "--to", target, *ssh)
    root.ioconnect("pin", "second", "--fingerprint", service.sshd.fingerprint)

    root.ioconnect("reload")

    processes.wait_until(lambda: processes.listens(port), deadline=20, what="the second tunnel is up")
    assert service.agent_pid() == before


def test_a_tunnels_own_identity_is_handed_over(machine: Machine) -> None:
    """As `register --paste` leaves it, which keeps the key that the pasted line names."""
    box, root = machine.box, machine.root
    config, key = box.path(CONFIG), "/srv/100%key"
    before = config.read_text()
    public = root.ioconnect("keygen", "--file", key)
    port = processes.free_port()
    machine.sshd.authorize(public, port)
    own = f'[tunnels.orders]\nidentity = "{key}"'
    config.write_text(before.replace(f":{root.port}", f":{port}").replace("[tunnels.orders]", own))
    original, root.port = root.port, port
    try:
        machine.install()
        root.wait_connected()
        root.ioconnect("uninstall-service", "--kind", "systemd")
    finally:
        config.write_text(before)
        root.port = original


def test_an_identity_with_a_blank_in_its_path_is_refused_before_anything_is_written(machine: Machine) -> None:
    """What systemd 252 hands over is cut off at the blank from 257 on."""
    box, root = machine.box, machine.root
    config = box.path(CONFIG)
    before = config.read_text()
    root.ioconnect("keygen", "--file", "/srv/my key")
    config.write_text(before.replace("[tunnels.orders]", '[tunnels.orders]\nidentity = "/srv/my key"'))
    try:
        done = root.try_ioconnect("install-service", "--kind", "systemd")
    finally:
        config.write_text(before)

    assert (done.returncode, "the identity /srv/my key has a blank" in done.stderr) == (71, True)
    assert traces(box) == []


def test_an_account_of_ones_own_may_run_it(machine: Machine) -> None:
    machine.box.run("useradd", "--system", "--shell", "/usr/sbin/nologin", "tunnel")

    machine.install("--run-as", "tunnel")
    try:
        machine.root.wait_connected()
        assert machine.box.run("ps", "-o", "user=", "-p", str(machine.agent_pid())).strip() == "tunnel"
    finally:
        machine.root.ioconnect("uninstall-service", "--kind", "systemd")
    assert traces(machine.box) == []


def test_an_encrypted_identity_never_lies_on_the_disk_in_the_clear(machine: Machine) -> None:
    key, encrypted = "/etc/ioconnect/id_ed25519", "/etc/ioconnect/id_ed25519.cred"
    refused = machine.root.try_ioconnect("install-service", "--kind", "systemd", "--encrypted-key")
    assert (refused.returncode, f"systemd-creds encrypt --name=ssh-key {key} {encrypted}" in refused.stderr) == (
        66,
        True,
    )
    machine.box.run("systemd-creds", "encrypt", "--with-key=host", "--name=ssh-key", key, encrypted)
    machine.box.run("mv", key, "/run/aside")
    try:
        machine.install("--encrypted-key")
        machine.root.wait_connected()
        machine.root.ioconnect("uninstall-service", "--kind", "systemd")
    finally:
        machine.box.run("mv", "/run/aside", key)
        machine.box.run("rm", encrypted)


def test_a_program_in_a_home_folder_is_refused_before_anything_is_written(machine: Machine) -> None:
    machine.box.run("cp", "-a", HOME, "/root/venv")
    try:
        done = machine.root.try_run(
            "/root/venv/bin/python", "-m", "ioconnect", "install-service", "--kind", "systemd"
        )
    finally:
        machine.box.run("rm", "-r", "/root/venv")

    assert done.returncode == 71
    assert "/root/venv" in done.stderr
    assert "/opt/ioconnect" in done.stderr
    assert traces(machine.box) == []


@pytest.mark.parametrize("file", [CONFIG, f"{HOME}/bin/ioconnect", "/etc/ioconnect/id_ed25519"])
def test_what_another_account_could_change_gets_no_key_of_roots(machine: Machine, file: str) -> None:
    """Systemd reads the key as root, and hands it to this program with this configuration."""
    machine.box.run("chown", "daemon", file)
    try:
        done = machine.root.try_ioconnect("install-service", "--kind", "systemd")
    finally:
        machine.box.run("chown", "root", file)

    assert done.returncode == 71
    assert f"{file} belongs to daemon" in done.stderr
    assert f"chown root {shlex.quote(file)}" in done.stderr
    assert traces(machine.box) == []


def test_a_second_agent_is_not_started_beside_one_by_hand(machine: Machine) -> None:
    machine.root.ioconnect("up", "--daemon")
    try:
        done = machine.root.try_ioconnect("install-service", "--kind", "systemd")
    finally:
        machine.root.ioconnect("down")

    assert done.returncode == 71
    assert "an agent runs already" in done.stderr
    assert not machine.box.path(UNIT_FILE).exists()


def test_nothing_is_left_when_it_cannot_start(machine: Machine) -> None:
    """Installing is all or nothing; the reason is the agent's own."""
    pins = machine.box.path("/etc/ioconnect/known_hosts")
    pinned = pins.read_bytes()
    pins.write_bytes(b"")
    try:
        done = machine.root.try_ioconnect("install-service", "--kind", "systemd")
    finally:
        pins.write_bytes(pinned)

    assert done.returncode == 71
    assert "no host key is pinned" in done.stderr
    assert traces(machine.box) == []


def test_uninstalling_leaves_nothing(machine: Machine) -> None:
    machine.install()
    machine.root.wait_connected()

    machine.root.ioconnect("uninstall-service", "--kind", "systemd")

    assert traces(machine.box) == []
    assert not processes.listens(machine.root.port)
    done = machine.root.try_ioconnect("uninstall-service", "--kind", "systemd")
    assert (done.returncode, "is not installed" in done.stderr) == (0, True)


def traces(box: SystemdBox) -> list[str]:
    """Return what is left of a service: files, units, accounts, processes."""
    files = box.run(
        *("find", "/etc/systemd", "/run/systemd", "/var/lib", "/run", "-xdev", "-name", "*ioconnect*"),
        *("-not", "-path", "*/dpkg/*"),
    ).splitlines()
    listed = box.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "ioconnect*").splitlines()
    # Systemd remembers for a while that it was asked for a unit which is not there.
    units = [line for line in listed if line.split()[1:4] != ["not-found", "inactive", "dead"]]
    account = box.try_run("getent", "passwd", "ioconnect").stdout.splitlines()
    running = [
        line for line in box.run("ps", "-A", "-o", "args=").splitlines() if "ioconnect" in line and " up" in line
    ]
    return files + units + account + running
