"""`install-service --kind cron` on a real cron: foreign lines stay, and the line starts the agent as cron would."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes
from tests.rigs.site import Owner, Site, booted_site

if TYPE_CHECKING:
    from collections.abc import Iterator

FOREIGN = (
    b"# m h  dom mon dow   command\n\n"
    b'MAILTO=""\nSHELL=/usr/bin/zsh\nPATH=/nowhere\n'
    b"\t 5 4 * * *\techo caf\xe9 100\\% > /dev/null   \n"
    b"#\r\n"
    b"@daily true\n\n\n# the last line has its newline\n"
)
SPOOLED = "/var/spool/cron/crontabs/alice"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    processes.need_program("crontab", package="cron")
    processes.need_program("cron", package="cron")
    with booted_site() as site:
        yield site


@pytest.fixture(scope="module")
def alice(site: Site) -> Owner:
    alice = site.as_user("alice")
    alice.set_up()
    return alice


@pytest.fixture
def foreign(alice: Owner) -> Iterator[Owner]:
    """Alice with a crontab of her own, and no agent; the same afterwards."""
    alice.box.path("/tmp/foreign").write_bytes(FOREIGN)
    alice.box.run("crontab", "-u", "alice", "/tmp/foreign")
    yield alice
    alice.ioconnect("down")
    alice.box.run("crontab", "-u", "alice", "-r")


def table(owner: Owner) -> bytes:
    """Return the crontab's bytes as cron keeps them, less Debian's three lines: `crontab -l` does not show all."""
    return b"".join(owner.box.path(SPOOLED).read_bytes().splitlines(keepends=True)[3:])


def test_a_foreign_crontab_is_preserved_byte_for_byte(foreign: Owner) -> None:
    assert table(foreign) == FOREIGN

    foreign.ioconnect("install-service", "--kind", "cron", "--no-start")
    once = table(foreign)
    foreign.ioconnect("install-service", "--kind", "cron", "--no-start")
    twice = table(foreign)
    foreign.ioconnect("uninstall-service", "--kind", "cron")

    assert once.startswith(FOREIGN)
    assert once[len(FOREIGN) :].startswith(b"# BEGIN ioconnect\n")
    assert once.endswith(b"# END ioconnect\n")
    assert twice == once
    assert table(foreign) == FOREIGN


def test_cron_starts_the_agent_when_the_machine_boots(foreign: Owner) -> None:
    """With a SHELL and a PATH in the crontab that would keep an unguarded line from working."""
    foreign.ioconnect("install-service", "--kind", "cron", "--no-start")
    foreign.box.reboot()
    assert foreign.status()["agent"]["running"] is False

    foreign.box.run("systemctl", "start", "cron")
    try:
        foreign.wait_connected()
    finally:
        foreign.box.run("systemctl", "stop", "cron")


def test_the_line_brings_the_agent_back_and_is_idempotent(foreign: Owner) -> None:
    foreign.ioconnect("install-service", "--kind", "cron")
    foreign.wait_connected()
    first = foreign.status()["agent"]["pid"]
    line = next(line for line in table(foreign).decode("latin-1").splitlines() if line.startswith("*/5 "))
    command = line.split(None, 5)[5].replace(r"\%", "%")
    as_cron = ("env", "-i", "HOME=/home/alice", "LOGNAME=alice", "PATH=/usr/bin:/bin", "/bin/sh", "-c", command)

    foreign.run(*as_cron)
    again = foreign.status()["agent"]["pid"]
    foreign.box.run("kill", "-KILL", str(first))
    foreign.run(*as_cron)
    foreign.wait_connected()

    assert again == first
    assert foreign.status()["agent"]["pid"] != first


def test_nothing_is_left_in_an_empty_crontab(alice: Owner) -> None:
    alice.ioconnect("install-service", "--kind", "cron", "--no-start")
    assert alice.box.path(SPOOLED).exists()

    alice.ioconnect("uninstall-service", "--kind", "cron")

    assert not alice.box.path(SPOOLED).exists()
    done = alice.try_ioconnect("uninstall-service", "--kind", "cron")
    assert (done.returncode, "is not installed" in done.stderr) == (0, True)


def test_root_may_put_it_into_somebodys_crontab(site: Site, foreign: Owner) -> None:
    """As whom the agent runs, with root's configuration and its own key; root starts none beside it."""
    root = site.as_user("root")
    folder = "/srv/ioconnect"
    up = ("--config", f"{folder}/config.toml", "up", "--daemon")
    site.box.run("cp", "-a", "/home/alice/.config/ioconnect", folder)

    root.ioconnect("--config", f"{folder}/config.toml", "install-service", "--kind", "cron", "--run-as", "alice")

    try:
        foreign.wait_connected()
        pid = foreign.status()["agent"]["pid"]
        assert site.box.run("ps", "-o", "user=", "-p", str(pid)).strip() == "alice"
        foreign.ioconnect("down")
        refused = root.try_ioconnect(*up)
        assert (refused.returncode, "run as alice" in refused.stderr) == (71, True)
    finally:
        root.ioconnect("uninstall-service", "--kind", "cron", "--run-as", "alice")
    assert table(foreign) == FOREIGN
    assert "run as alice" not in root.try_ioconnect(*up).stderr


def test_a_crontab_that_may_not_be_read_is_left_alone(foreign: Owner) -> None:
    deny = foreign.box.path("/etc/cron.deny")
    deny.write_text("alice\n")
    try:
        done = foreign.try_ioconnect("install-service", "--kind", "cron", "--no-start")
    finally:
        deny.unlink()

    assert done.returncode == 71
    assert "not allowed" in done.stderr
    assert table(foreign) == FOREIGN


def test_an_agent_that_cannot_start_leaves_the_crontab_as_it_was(foreign: Owner) -> None:
    pins = foreign.box.path("/home/alice/.config/ioconnect/known_hosts")
    pinned = pins.read_bytes()
    pins.write_bytes(b"")
    try:
        done = foreign.try_ioconnect("install-service", "--kind", "cron")
    finally:
        pins.write_bytes(pinned)

    assert done.returncode == 71
    assert "no host key is pinned" in done.stderr
    assert table(foreign) == FOREIGN


def test_a_machine_without_cron_is_told_so(alice: Owner) -> None:
    program, aside = alice.box.path("/usr/bin/crontab"), alice.box.path("/usr/bin/crontab.aside")
    program.rename(aside)
    try:
        done = alice.try_ioconnect("install-service", "--kind", "cron")
    finally:
        aside.rename(program)

    assert done.returncode == 71
    assert "there is no cron on this machine" in done.stderr
