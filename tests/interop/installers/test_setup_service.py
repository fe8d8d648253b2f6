"""`setup` up to the service, on a real systemd and with a real sshd: the newcomer's one command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes
from tests.rigs.site import Owner, Site, booted_site

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    processes.need_library("libnss_systemd.so.2", package="libnss-systemd")  # the name of the unit's dynamic user
    with booted_site() as machine:
        yield machine


def set_up(owner: Owner, *more: str) -> None:
    sshd = owner.site.sshd
    owner.port = owner.port or processes.free_port()
    sshd.authorize(owner.ioconnect("keygen"), owner.port)
    ssh = ("--ssh-port", str(sshd.port), "--ssh-user", sshd.user, "--fingerprint", sshd.fingerprint)
    target = f"localhost:{owner.site.echo.port}"
    owner.ioconnect("setup", "orders", "--endpoint", f"localhost:{owner.port}", "--to", target, *ssh, *more)


def test_ends_with_a_service_that_carries(site: Site) -> None:
    """An agent that was started by hand before makes way; run again, it finds all of it done."""
    root = site.as_user("root")
    set_up(root, "--no-service")
    by_hand = root.status()["agent"]["pid"]

    set_up(root, "--service")
    root.wait_connected()
    pid = root.status()["agent"]["pid"]
    set_up(root)

    assert site.box.show("ioconnect.service", "MainPID") == str(pid)
    assert by_hand != pid
    assert root.status()["agent"]["pid"] == pid


def test_without_systemd_root_names_an_account_whose_cron_runs_it(site: Site) -> None:
    """The key is that account's; its status is asked for as the setup says."""
    processes.need_program("crontab", package="cron")
    root, alice = site.as_user("root"), site.as_user("alice")
    folder = "/srv/ioconnect"
    root.try_ioconnect("uninstall-service", "--kind", "systemd")
    root.run("mkdir", "-p", folder)
    config = f"{folder}/config.toml"
    hide = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /run/systemd && exec "$0" "$@"')
    root.port = processes.free_port()
    site.sshd.authorize(root.ioconnect("--config", config, "keygen"), root.port)
    ssh = ("--ssh-port", str(site.sshd.port), "--ssh-user", site.sshd.user, "--fingerprint", site.sshd.fingerprint)
    where = ("--endpoint", f"localhost:{root.port}", "--to", f"localhost:{site.echo.port}")
    command = (*hide, site.command, "--config", config, "setup", "orders")

    refused = root.try_run(*command, *where, *ssh, "--service", "--run-as", "alice")
    assert (refused.returncode, f"sudo chown alice {folder}/id_ed25519" in refused.stderr) == (71, True), (
        refused.stderr
    )
    root.run("chown", "alice", f"{folder}/id_ed25519")
    done = root.try_run(*command, "--service", "--run-as", "alice")

    assert done.returncode == 0, done.stderr
    asks = f"runuser --pty -u alice -- '{site.command}' --config {config} status"
    assert asks in done.stderr
    try:
        assert "BEGIN ioconnect" in root.run("crontab", "-u", "alice", "-l")
        alice.port = root.port
        processes.wait_until(lambda: alice.try_run("sh", "-c", asks.partition(" -- ")[2]).returncode == 0)
        pid = alice.status()["agent"]["pid"]
        assert root.run("ps", "-o", "user=", "-p", str(pid)).strip() == "alice"
    finally:
        root.try_run(*hide, site.command, "uninstall-service", "--kind", "cron", "--run-as", "alice")
        alice.try_ioconnect("down")
