"""`install-service --kind systemd-user` on a real user manager, and what others see of the machine's service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes
from tests.rigs.site import Owner, Site, booted_site

if TYPE_CHECKING:
    from collections.abc import Iterator

UNIT = "ioconnect.service"
UNIT_FILE = "/home/alice/.config/systemd/user/ioconnect.service"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    processes.need_library("security/pam_systemd.so", package="libpam-systemd")
    processes.need_library("systemd/user/dbus.socket", package="dbus-user-session")
    with booted_site() as site:
        yield site


@pytest.fixture(scope="module")
def alice(site: Site) -> Owner:
    """A user with a tunnel of her own, whose services run while she is away."""
    alice = site.as_user("alice")
    alice.set_up()
    site.box.run("loginctl", "enable-linger", "alice")
    processes.wait_until(
        lambda: alice.try_run("systemctl", "--user", "is-system-running").stdout.strip() in ("running", "degraded"),
        deadline=30,
        what="alice's own systemd is up",
    )
    return alice


def test_a_users_service_runs_after_a_reboot_with_nobody_signed_in(alice: Owner) -> None:
    alice.ioconnect("install-service", "--kind", "systemd-user")
    try:
        alice.wait_connected()
        alice.box.reboot()

        alice.wait_connected()
        assert (
            alice.run("systemctl", "--user", "show", UNIT, "--property=ActiveState").strip() == "ActiveState=active"
        )
    finally:
        alice.ioconnect("uninstall-service", "--kind", "systemd-user")
    assert not alice.box.path(UNIT_FILE).exists()
    assert not processes.listens(alice.port)


def test_systemd_has_nothing_to_say_about_the_users_unit(alice: Owner) -> None:
    alice.ioconnect("install-service", "--kind", "systemd-user", "--no-start")
    try:
        done = alice.try_run("systemd-analyze", "--user", "verify", UNIT_FILE)
    finally:
        alice.ioconnect("uninstall-service", "--kind", "systemd-user")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_lingering_is_asked_for_where_it_is_missing(site: Site, alice: Owner) -> None:
    bob = site.as_user("bob")

    assert (
        "loginctl enable-linger bob"
        in bob.try_ioconnect("install-service", "--kind", "systemd-user", "--print").stderr
    )
    assert "enable-linger" not in alice.try_ioconnect("install-service", "--kind", "systemd-user", "--print").stderr


def test_without_a_manager_of_ones_own_nothing_is_left(site: Site) -> None:
    bob = site.as_user("bob")
    bob.set_up()

    done = bob.try_ioconnect("install-service", "--kind", "systemd-user")

    assert done.returncode == 71
    assert "systemctl --user" in done.stderr
    assert not site.box.path("/home/bob/.config/systemd/user/ioconnect.service").exists()


@pytest.mark.parametrize("kind", ["systemd", "launchd-daemon"])
def test_the_machines_service_is_roots_to_install(alice: Owner, kind: str) -> None:
    done = alice.try_ioconnect("install-service", "--kind", kind)

    assert done.returncode == 71
    assert "only root" in done.stderr
