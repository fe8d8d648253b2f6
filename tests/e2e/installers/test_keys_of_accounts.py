"""Which keys systemd hands to the service, which it reads as root: only those that nobody else could replace."""

from __future__ import annotations

import os
import pwd
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from tests.rigs import ordinary_user
from tests.rigs.customer import Customer

from ioconnect.config import configuration
from ioconnect.errors import SystemRefused
from ioconnect.installers import machine, service_description
from ioconnect.installers.file_modes import make_readable
from ioconnect.installers.service import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root hands keys over")

CONFIG = """schema = 1
[tunnels.orders]
endpoint = "jump.example:40000"
target = "localhost:3306"
[tunnels.stock]
endpoint = "jump.example:40001"
target = "localhost:5432"
identity = "{identity}"
"""


@pytest.fixture
def theirs() -> Iterator[Path]:
    with ordinary_user.folder() as folder:
        yield folder


@pytest.fixture
def customer(tmp_path: Path, theirs: Path) -> Iterator[Customer]:
    """Root's configuration and key; the tunnel `stock` has its key in another account's folder."""
    machine = Customer(tmp_path / "home")
    machine.run("keygen")
    (machine.home / "config.toml").write_text(CONFIG.format(identity=theirs / "key"))
    yield machine
    machine.close()


def printed(customer: Customer, *arguments: str) -> tuple[list[str], str]:
    """Return the lines of the unit that hand keys over, and what is said beside it."""
    done = customer.try_run("install-service", "--kind", "systemd", "--print", *arguments)
    return [line for line in done.stdout.splitlines() if line.startswith("LoadCredential=")], done.stderr


def test_an_account_reads_the_key_that_it_could_replace_itself(customer: Customer, theirs: Path) -> None:
    """With a link to /etc/shadow in its place, systemd handed that over."""
    (theirs / "key").symlink_to("/etc/shadow")

    lines, _ = printed(customer, "--run-as", "nobody")

    assert lines == [f"LoadCredential=ssh-key:{customer.home / 'id_ed25519'}"]


def test_the_key_that_is_handed_over_is_roots_with_all_of_its_folders(customer: Customer) -> None:
    for change in (lambda: customer.home.chmod(0o777), lambda: os.chown(customer.home, ordinary_user.NOBODY, 0)):
        change()
        assert printed(customer, "--run-as", "nobody")[0] == []


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        *((kind, "--run-as ACCOUNT") for kind in ("cron", "launchd-daemon")),
        *((kind, "as the user that it shall run as") for kind in ("systemd-user", "launchd-agent")),
    ],
)
def test_no_service_runs_as_root_unless_somebody_says_so(customer: Customer, kind: str, hint: str) -> None:
    refused = customer.try_run("install-service", "--kind", kind)

    assert refused.returncode == 64
    assert f"{kind} would run as root" in refused.stderr
    assert hint in refused.stderr


def test_what_is_printed_is_what_would_be_installed(customer: Customer, theirs: Path) -> None:
    """For the account of --run-as: with its home and its rights, and all that keeps it from being installed."""
    (theirs / "key").touch()
    home = pwd.getpwnam("nobody").pw_dir

    cron = customer.try_run("install-service", "--kind", "cron", "--print", "--run-as", "nobody")
    unit = customer.try_run("install-service", "--kind", "systemd", "--print", "--run-as", "nobody")

    assert f"HOME={home} " in cron.stdout
    assert "On this machine: the account nobody may not read" in cron.stderr
    assert f"the cron service signs in with {customer.home / 'id_ed25519'}. " in cron.stderr
    assert "root would run it" not in unit.stderr


def test_a_printed_service_says_that_it_would_be_refused(customer: Customer) -> None:
    done = customer.try_run("install-service", "--kind", "cron", "--print")
    unknown = customer.try_run("install-service", "--kind", "cron", "--print", "--run-as", "no-such")
    customer.home.joinpath("config.toml").write_text("schema = 7")
    invalid = customer.try_run("install-service", "--kind", "cron", "--print", "--run-as", "nobody")

    assert (done.returncode, unknown.returncode, invalid.returncode) == (0, 0, 0)
    assert "cron would run as root" in done.stderr
    assert "--run-as ACCOUNT" in done.stderr
    assert "HOME=/home/no-such " in unknown.stdout
    assert "there is no account no-such" in unknown.stderr
    assert "On this machine: " in invalid.stderr
    assert "schema" in invalid.stderr


@pytest.mark.parametrize("owner", [0, ordinary_user.NOBODY - 1])
def test_nobodys_home_is_opened_for_a_service(theirs: Path, owner: int) -> None:
    os.chown(theirs, owner, 0)
    theirs.chmod(0o700)
    (theirs / "inner").mkdir()
    (theirs / "inner" / "config.toml").touch()

    opened = machine.opening(theirs, "o+x")
    with (
        pytest.raises(SystemRefused, match=f"may not enter {theirs}") as caught,
        make_readable((theirs / "inner" / "config.toml",), None),
    ):
        pass

    assert opened == ("" if owner else f"open it (chmod o+x {theirs}), or ")
    assert caught.value.hint == f"To mend it: {opened}move the configuration to /etc/ioconnect."


def test_the_home_of_root_is_not_opened_either() -> None:
    assert machine.opening(Path("/root"), "o+rX") == ""


@pytest.mark.parametrize("owner", [0, ordinary_user.NOBODY - 1])
def test_what_the_account_may_not_read_is_opened_only_where_nobody_else_leads(
    customer: Customer, theirs: Path, owner: int
) -> None:
    os.chown(theirs, owner, 0)
    (theirs / "key").touch()
    theirs.chmod(0o700)
    account = machine.account("nobody")
    service = SimpleNamespace(credentials=(), encrypted=False, run_as="nobody")
    described = SimpleNamespace(service=service, reader=account)
    paths = customer.paths
    settings = configuration.load(paths.config)
    settings = replace(settings, tunnels=settings.tunnels[1:])

    with pytest.raises(SystemRefused, match="signs in with") as caught:
        service_description._refuse_unreadable_identities(Kind.CRON, described, settings, paths)

    assert ("chmod" in caught.value.hint) is not bool(owner)
    told = f"Root is to give away nothing there, as {theirs} belongs to uid {owner}: let nobody make a key"
    assert caught.value.hint.startswith(told) is bool(owner)


def test_an_account_gets_a_copy_of_a_key_in_roots_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "custody_of", lambda _path: None)  # this checkout may be anybody's

    hint = machine.how_to_give(Path("/root/key"), Path("/root"), "nobody", Path("/c"))

    assert "sudo install -o nobody -m 600 /root/key /etc/ioconnect/key; and name that as `identity` in /c" in hint


def test_nothing_that_an_account_leads_to_is_given_to_it(theirs: Path) -> None:
    """Her key was a link to /etc/shadow, and the hint `sudo chown` of it."""
    (theirs / "key").symlink_to("/etc/shadow")
    os.lchown(theirs / "key", ordinary_user.NOBODY, ordinary_user.NOBODY)
    os.chown(theirs, ordinary_user.NOBODY, 0)

    for closed in (Path("/etc/shadow"), Path("/root"), theirs):
        hint = machine.how_to_give(theirs / "key", closed, "nobody", Path("/c"))
        assert not any(word in hint for word in ("sudo", "chown", "chmod", "/etc/shadow", "/root"))
