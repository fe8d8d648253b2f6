"""An account that runs the service, on a real systemd: it has root read, chown, overwrite or kill nothing for it.

It owns the configuration, the key, the pins and the state of the service, and puts into their place what it likes.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes
from tests.rigs.site import UNIT, Owner, Site, booted_site

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

THEIRS = "/home/mallory/.config/ioconnect"
CONFIG = f"{THEIRS}/config.toml"
STATE = "/var/lib/ioconnect"
LOCK = f"{STATE}/agent.lock"
VICTIM = "/etc/victim"  # a file of root's
MARK = "hunter2-of-root"
INSTALL = ("install-service", "--kind", "systemd", "--run-as", "mallory", "--force")
# What root may run for them, with their configuration; none of it may end in a minute's timeout.
COMMANDS = (
    *(("status",), ("status", "--json"), ("test", "--json"), ("logs",), ("reload",), ("reconnect",), ("keygen",)),
    *(("doctor", "--json"), ("doctor", "--bundle", "/root/bundle.tar.gz"), ("import", "--dry-run")),
    *(("pin", "--yes"), ("up",), ("up", "--daemon"), ("down", "orders"), ("down",), INSTALL, ("uninstall-service",)),
    ("register", "more", "--endpoint", "localhost:1", "--to", "localhost:2"),
)
FEW = (("status",), ("reload",), ("up", "--daemon"), ("down", "orders"), ("down",))
MANY = [pytest.param(FEW, id="few"), pytest.param(COMMANDS, id="all", marks=pytest.mark.long)]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with booted_site() as machine:
        machine.as_user("mallory").set_up()
        machine.box.run("chmod", "755", "/home/mallory")  # whoever may look into it: what is refused is refused by us
        yield machine


@pytest.fixture
def mallory(site: Site) -> Iterator[Owner]:
    """The account, with the service installed for it and connected; its files are put back afterwards."""
    owner, box = site.as_user("mallory"), site.box
    box.path(VICTIM).write_text(f"{MARK}\n")
    box.run("chmod", "600", VICTIM)
    box.run("cp", "-a", THEIRS, "/root/theirs")
    asked(site, *INSTALL)
    processes.wait_until(lambda: "1 of 1 connected" in box.show(UNIT, "StatusText"), what="it is connected")
    try:
        yield owner
    finally:
        box.try_run("pkill", "-u", "mallory")
        asked(site, "uninstall-service", "--kind", "systemd")
        box.run("rm", "-rf", THEIRS, STATE, "/home/mallory/found")
        box.run("mv", "/root/theirs", THEIRS)


def asked(site: Site, *arguments: str) -> str:
    """Return what a command of root's says on their configuration, whatever its code."""
    done = site.as_user("root").try_ioconnect("--config", CONFIG, *arguments)
    return f"{done.stdout}\n{done.stderr}"


def victim(site: Site) -> tuple[str, str]:
    """Return owner, mode, links and kind of root's file; and its content."""
    return site.box.run("stat", "-c", "%u:%g %a %h %F", VICTIM), site.box.path(VICTIM).read_text()


def replace(owner: Owner, *files: str, by: str = "link") -> None:
    """Put a link to root's file, or a pipe, into the place of each of these."""
    for file in files:
        owner.run("rm", "-f", file)
        owner.run(*(("ln", "-s", VICTIM, file) if by == "link" else ("mkfifo", file)))


@contextlib.contextmanager
def reading(site: Site) -> Iterator[None]:
    """Have the account read root's file and what systemd handed to the service, all the while, into its home."""
    look = f"while sleep 0.02; do cat {VICTIM} /run/credentials/{UNIT}/* >>/home/mallory/found 2>/dev/null; done"
    site.box.run("systemd-run", "--unit=reader", "--uid=mallory", "sh", "-c", look)
    try:
        yield
    finally:
        site.box.run("systemctl", "stop", "reader.service")


@pytest.mark.parametrize(
    "file", [f"{THEIRS}/id_ed25519", CONFIG, pytest.param(f"{THEIRS}/known_hosts", marks=pytest.mark.long)]
)
def test_root_reads_it_nothing(site: Site, mallory: Owner, file: str) -> None:
    """Neither by LoadCredential=, nor by opening the file, nor in what root's commands print or pack, nor by the log.

    A file that is open for a moment only, or a credential of a service that fails at once, would be enough.
    """
    box = site.box
    commands = [command for command in COMMANDS if command[0] not in ("uninstall-service", "up")]
    with reading(site):
        replace(mallory, file)
        box.try_run("systemctl", "restart", UNIT)
        asked(site, *INSTALL)
        said = [asked(site, *command) for command in commands]
        box.try_run("systemctl", "restart", UNIT)
    places = ("/run/credentials", STATE, "/home/mallory", "/var/log/ioconnect", "/run/ioconnect")
    found = mallory.try_run("grep", "-rls", MARK, *places)

    assert found.stdout == ""
    assert [text for text in [*said, box.journal()] if MARK in text] == []
    assert MARK not in box.try_run("tar", "-xzOf", "/root/bundle.tar.gz").stdout


def test_root_hands_it_no_key_that_it_could_replace(site: Site, mallory: Owner) -> None:
    unit = site.box.run("systemctl", "cat", UNIT)

    assert "LoadCredential" not in unit
    assert mallory.try_run("test", "-e", f"/run/credentials/{UNIT}").returncode != 0


@pytest.mark.parametrize("by", ["link", pytest.param("pipe", marks=pytest.mark.long)])
def test_root_changes_and_overwrites_nothing_for_it(site: Site, mallory: Owner, by: str) -> None:
    """By no file of its state, and by none that root writes or opens for it; no command hangs on a pipe."""
    before = victim(site)
    site.box.run("systemctl", "stop", UNIT)
    files = (f"{STATE}/{name}" for name in ("agent.lock", "status.json", "sources.json", "setup.json", "crash.log"))
    replace(mallory, *files, f"{THEIRS}/id_ed25519.pub", f"{THEIRS}/known_hosts", by=by)

    for command in COMMANDS:
        asked(site, *command)
        assert victim(site) == before, command
    replace(mallory, CONFIG, f"{THEIRS}/id_ed25519", by=by)
    for command in COMMANDS:
        asked(site, *command)
        assert victim(site) == before, command


def test_a_folder_of_its_own_leads_root_nowhere(site: Site, mallory: Owner) -> None:
    """In the place of its configuration's folder a link to one of root's."""
    box = site.box
    box.run("mkdir", "-m", "700", "/etc/private")
    box.run("cp", "-a", f"{THEIRS}/.", "/etc/private")
    box.run("chown", "-R", "root:", "/etc/private")
    mallory.run("mv", THEIRS, f"{THEIRS}.kept")
    mallory.run("ln", "-s", "/etc/private", THEIRS)
    listing = ("find", "/etc/private", "-printf", "%p %u:%g %m %s %T@\\n")
    before = box.run(*listing)
    try:
        for command in COMMANDS:
            asked(site, *command)
            assert box.run(*listing) == before, command
    finally:
        mallory.run("rm", THEIRS)
        mallory.run("mv", f"{THEIRS}.kept", THEIRS)
        box.run("rm", "-r", "/etc/private")


@pytest.mark.parametrize("commands", MANY)
@pytest.mark.usefixtures("mallory")
def test_root_kills_nothing_for_it(site: Site, commands: Sequence[tuple[str, ...]]) -> None:
    """It holds the lock, and writes the number of a process of root's into it."""
    box = site.box
    box.run("systemctl", "stop", UNIT)
    box.run("systemd-run", "--unit=victim", "sleep", "3600")
    pid = int(box.show("victim.service", "MainPID"))
    content = f'{{"pid": {pid}, "started_at": "", "version": "0.1.0"}}'
    hold = ("flock", "-x", LOCK, "sh", "-c", 'printf %s "$0" >"$1"; exec sleep 3600', content, LOCK)
    box.run("systemd-run", "--unit=holder", "--uid=mallory", *hold)
    processes.wait_until(lambda: box.try_run("test", "-s", LOCK).returncode == 0, what="it is held")
    try:
        for command in commands:
            said = asked(site, *command)
            assert box.runs(pid), command
            if command == ("down",):
                assert re.search(rf"pid {pid}|not prove", said), said
            assert "kill -" not in said, command
        assert box.show("victim.service", "ActiveState") == "active"
    finally:
        box.run("systemctl", "stop", "holder.service", "victim.service")
