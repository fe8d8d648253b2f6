"""`import` on a machine with a real systemd, cron and autossh: the port changes hands, and nothing is lost."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes
from tests.rigs.site import Owner, Site, booted_site

from ioconnect.importing.cron_lines import MARK

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = b"# m h  dom mon dow   command\n\n\t 5 4 * * *\techo caf\xe9 100\\% > /dev/null   \nLINE\n#\r\n@daily true\n"
UNIT = """[Unit]
Description=Integrate.io Reverse SSH Tunnel

[Service]
User={account}
ExecStart=/usr/bin/{command}
Environment="AUTOSSH_GATETIME=0"
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
"""
NAME = "integrateio-reverse-tunnel"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    for program in ("crontab", "autossh"):
        processes.need_program(program, package={"crontab": "cron"}.get(program, program))
    with booted_site() as site:
        yield site


def prepared(site: Site, account: str, folder: str) -> tuple[Owner, str]:
    """Give the account a key, a trusted host key and a port as the vendor's page does; return its autossh line."""
    owner, sshd = site.as_user(account), site.sshd
    owner.port = processes.free_port()
    ssh = f"{folder}/.ssh"
    owner.run("mkdir", "-p", "-m", "700", ssh)
    owner.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{ssh}/integrateio_reverse")
    sshd.authorize(owner.run("cat", f"{ssh}/integrateio_reverse.pub"), owner.port)
    known_hosts = site.box.path(f"{ssh}/known_hosts")
    known_hosts.write_text(f"[localhost]:{sshd.port} {sshd.known_hosts_line.split(None, 1)[1]}\n")
    known_hosts.chmod(0o644)
    return owner, (
        f"autossh -M 0 -N -R {owner.port}:localhost:{site.echo.port} {sshd.user}@localhost "
        f'-i ~/.ssh/integrateio_reverse -p {sshd.port} -o "ExitOnForwardFailure yes" -o ServerAliveInterval=10 '
        "-o ServerAliveCountMax=1"
    )


def goes_through(owner: Owner) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", owner.port), timeout=5) as pipeline:
            pipeline.sendall(b"select 1")
            return pipeline.recv(64) == b"select 1"
    except OSError:
        return False


def old_processes(owner: Owner) -> str:
    return str(owner.box.try_run("pgrep", "-f", f"{owner.port}:localhost:").stdout)


def test_a_unit_hands_its_port_over(site: Site) -> None:
    """Systemd and autossh would both start it again, if anything was forgotten."""
    owner, command = prepared(site, "root", "/root")
    site.box.path(f"/etc/systemd/system/{NAME}.service").write_text(
        UNIT.format(account="root", command=command.replace("~", "/root"))
    )
    site.box.run("systemctl", "daemon-reload")
    site.box.run("systemctl", "enable", "--now", NAME)
    processes.wait_until(lambda: goes_through(owner), deadline=20, what="the old tunnel is up")

    dry = owner.ioconnect("import", "--dry-run")
    done = owner.try_ioconnect("import", "--yes", "--disable-old")
    owner.ioconnect("up", "--daemon")

    assert (done.returncode, done.stdout, dry) == (0, f"{NAME}\n", f"{NAME}\n")
    assert f"systemctl enable --now {NAME}.service" in done.stderr
    assert site.box.try_run("systemctl", "is-enabled", NAME).stdout == "disabled\n"
    assert old_processes(owner) == ""
    owner.wait_connected()
    assert owner.tunnel()["name"] == NAME

    again = owner.try_ioconnect("import", "--yes", "--disable-old")
    assert (again.returncode, again.stdout) == (0, "")
    owner.ioconnect("down")


def test_a_crontab_hands_its_port_over(site: Site) -> None:
    """Every byte that is not its line stays; the process that cron started is stopped."""
    owner, command = prepared(site, "alice", "/home/alice")
    line = f"@reboot AUTOSSH_GATETIME=0 {command.replace('-N', '-f -N', 1)}".encode()
    site.box.path("/tmp/table").write_bytes(TABLE.replace(b"LINE", line))
    site.box.run("crontab", "-u", "alice", "/tmp/table")
    owner.run("sh", "-c", line.decode().removeprefix("@reboot "))
    processes.wait_until(lambda: goes_through(owner), deadline=20, what="the old tunnel is up")

    first = owner.try_ioconnect("import", "--yes")
    before = old_processes(owner)
    done = owner.try_ioconnect("import", "--disable-old")
    owner.ioconnect("up", "--daemon")

    assert (first.returncode, first.stdout) == (0, f"tunnel-{owner.port}\n")
    assert "two agents would fight" in first.stderr
    assert all(f"pid {pid}" in first.stderr for pid in before.split())
    assert len(before.split()) == 2
    assert done.returncode == 0
    assert old_processes(owner) == ""
    spooled = site.box.path("/var/spool/cron/crontabs/alice").read_bytes()
    assert b"".join(spooled.splitlines(keepends=True)[3:]) == TABLE.replace(b"LINE", MARK + line)
    owner.wait_connected()
    owner.ioconnect("down")
