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
