"""Readability for accounts, modes opened for a service's account, and the command that starts this program."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rigs import ordinary_user

from ioconnect.config import configuration
from ioconnect.config.addresses import HostPort
from ioconnect.config.configuration import Config, Tunnel
from ioconnect.errors import SystemRefused, UsageFault
from ioconnect.installers import machine
from ioconnect.installers.file_modes import make_readable
from ioconnect.installers.machine import Account, unreadable_for
from ioconnect.keys import known_hosts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STRANGER = Account("stranger", uid=54321, gid=54321, home=Path("/"), groups=frozenset({54321}))
TUNNEL = Tunnel("orders", HostPort("jump.example", 40000), HostPort("localhost", 3306))
root_on_linux = pytest.mark.skipif(
    os.geteuid() != 0 or sys.platform != "linux", reason="only root can start somebody else's process"
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def etc() -> Iterator[Path]:
    """A folder that is closed to others, below none that is, as /etc/ioconnect is after keygen and register."""
    with ordinary_user.folder(own=False) as parent:
        folder = parent / "etc"
        folder.mkdir(mode=0o700)
        for name in ("config.toml", "id_ed25519"):
            (folder / name).write_text("x")
            (folder / name).chmod(0o600)
        yield folder


@pytest.mark.parametrize("who", [None, STRANGER])
def test_the_first_closed_part_of_a_path_is_named(etc: Path, who: Account | None) -> None:
    config = etc / "config.toml"

    assert unreadable_for(config, who) == etc
    etc.chmod(0o711)
    assert unreadable_for(config, who) == config
    config.chmod(0o604)
    assert unreadable_for(config, who) is None
    assert unreadable_for(etc / "not there", who) is None


def test_ones_own_and_ones_groups_rights_count(etc: Path) -> None:
    status = etc.stat()
    owner = replace(STRANGER, uid=status.st_uid)
    member = replace(STRANGER, groups=frozenset({status.st_gid}))
    (etc / "config.toml").chmod(0o640)
    etc.chmod(0o750)

    assert unreadable_for(etc / "config.toml", owner) is None
    assert unreadable_for(etc / "config.toml", member) is None
    assert unreadable_for(etc / "config.toml", STRANGER) == etc


def test_what_holds_no_secret_is_opened_and_nothing_else(etc: Path) -> None:
    config, pins = etc / "config.toml", etc / "known_hosts"

    with make_readable((config, pins), None) as output:
        pass

    assert (mode(etc), mode(config), mode(pins), mode(etc / "id_ed25519")) == (0o711, 0o644, 0o644, 0o600)
    assert pins.read_bytes() == b""
    assert len(output) == 3
    with make_readable((config, pins), None) as said_again:
        pass
    assert said_again == []


def test_it_is_closed_again_if_the_installation_fails(etc: Path) -> None:
    config, pins = etc / "config.toml", etc / "known_hosts"

    with pytest.raises(KeyboardInterrupt), make_readable((config, pins), None):
        raise KeyboardInterrupt

    assert (mode(etc), mode(config), pins.exists()) == (0o700, 0o600, False)


def test_a_folder_further_up_is_not_ours_to_open(etc: Path) -> None:
    inner = etc / "inner"
    inner.mkdir()
    (inner / "config.toml").write_text("x")

    with pytest.raises(SystemRefused, match="may not enter"), make_readable((inner / "config.toml",), None):
        pass

    assert mode(etc) == 0o700


def test_what_rewrites_an_open_file_keeps_it_open(etc: Path) -> None:
    """`register` and `pin` after `install-service`: the service's account goes on reading both."""
    config, pins = etc / "config.toml", etc / "known_hosts"
    pins.touch()
    for file in (config, pins):
        file.chmod(0o644)

    configuration.save(config, Config(tunnels=(TUNNEL,)))
    known_hosts.pin(pins, "jump.example", 22, [b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)])

    assert (mode(config), mode(pins)) == (0o644, 0o644)


def test_a_password_closes_the_file_that_it_is_written_to(etc: Path) -> None:
    config = etc / "config.toml"
    config.chmod(0o644)

    configuration.save(config, Config(tunnels=(replace(TUNNEL, proxy="http://user:secret@proxy:3128"),)))

    assert mode(config) == 0o600


def test_the_program_is_started_by_a_path_that_outlives_its_interpreter() -> None:
    command = machine.program()

    assert Path(command[0]).is_absolute()
    assert os.access(command[0], os.X_OK)
    assert Path(sys.prefix) in machine.program_files(command)
    assert Path(os.path.realpath(sys.executable)) in machine.program_files(command)


def test_an_account_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageFault, match="no-such-account"):
        machine.account("no-such-account")


@pytest.mark.parametrize(
    ("platform", "there", "line"),
    [
        (
            "linux",
            {"runuser": "/usr/bin/runuser"},
            "env -i /usr/bin/runuser --pty -u 'DOM\\alice' -- '/a b/ioconnect' status",
        ),
        (
            "linux",
            {"runuser": "/usr/sbin/runuser"},
            "env -i /usr/sbin/runuser --pty -u 'DOM\\alice' -- '/a b/ioconnect' status",
        ),
        ("darwin", {"sudo": "PATH"}, "sudo -u 'DOM\\alice' -- '/a b/ioconnect' status"),
        ("linux", {}, """env -i su -s /bin/sh 'DOM\\alice' -c ''"'"'/a b/ioconnect'"'"' status'"""),
        ("freebsd14", {}, """env -i su -m 'DOM\\alice' -c ''"'"'/a b/ioconnect'"'"' status'"""),
    ],
)
def test_a_command_of_the_account_is_told_by_what_is_there(
    monkeypatch: pytest.MonkeyPatch, platform: str, there: dict[str, str], line: str
) -> None:
    """runuser(1) is not in Debian's PATH after `su`, nor on Alpine and macOS."""

    def which(name: str, *, path: str | None = None) -> str | None:
        place = there.get(name)
        return None if place is None or (path is None) != (place == "PATH") else place

    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(shutil, "which", which)

    assert machine.as_account("DOM\\alice", ("/a b/ioconnect", "status")) == line


@pytest.mark.parametrize(
    ("platform", "program", "command"),
    [
        ("linux", "/usr/sbin/useradd", "useradd --system --create-home"),
        ("linux", None, "adduser -S -h /var/lib/NAME"),
        ("freebsd14", None, "pw useradd NAME -m"),
        ("darwin", None, "sysadminctl -addUser NAME"),
    ],
)
def test_the_account_that_is_hinted_at_has_a_home(
    monkeypatch: pytest.MonkeyPatch, platform: str, program: str | None, command: str
) -> None:
    """Its agent has its state there: without, `useradd --system` names a folder in passwd(5) that nobody makes."""
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: program)

    with pytest.raises(UsageFault) as refused:
        machine.account("no-such-account")

    assert command in refused.value.hint


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder of another account, with its configuration."""
    if os.geteuid() != 0:
        pytest.skip("only root changes modes for other accounts")
    with ordinary_user.folder() as folder:
        (folder / "config.toml").write_text("schema = 1\n")
        os.chown(folder / "config.toml", ordinary_user.NOBODY, ordinary_user.NOBODY)
        yield folder


@pytest.fixture
def shadow() -> Iterator[Path]:
    """A file that only root may read, in a folder that everybody may enter."""
    with ordinary_user.folder(own=False) as folder:
        path = folder / "shadow"
        path.write_text("root:$6$secret\n")
        path.chmod(0o600)
        yield path


NOBODY = Account("nobody", ordinary_user.NOBODY, ordinary_user.NOBODY, Path("/"), frozenset({ordinary_user.NOBODY}))


@pytest.mark.parametrize("place", [os.symlink, os.link])
def test_a_link_of_the_services_account_opens_no_file_of_roots(
    home: Path, shadow: Path, place: Callable[[Path, Path], None]
) -> None:
    place(shadow, home / "known_hosts")

    with (
        pytest.raises(SystemRefused, match=f"{home} belongs to nobody"),
        make_readable((home / "config.toml", home / "known_hosts"), NOBODY),
    ):
        pass

    assert mode(shadow) == 0o600


def test_what_was_opened_is_closed_again_and_not_what_was_put_in_its_place(home: Path, shadow: Path) -> None:
    config = home / "config.toml"
    config.chmod(0o600)
    shadow.chmod(0o640)

    def replace_and_interrupt() -> None:
        with make_readable((config,), STRANGER):
            config.rename(home / "old")
            config.symlink_to(shadow)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_and_interrupt()

    assert mode(home / "old") == 0o600
    assert mode(shadow) == 0o640


def test_no_file_is_made_for_root_in_the_folder_of_the_services_account(home: Path) -> None:
    with make_readable((home / "config.toml", home / "known_hosts"), NOBODY) as said:
        assert said == []

    assert not (home / "known_hosts").exists()


@contextlib.contextmanager
def process_named(name: str, *, user: int) -> Iterator[None]:
    """Run a process that gives itself this name, in printf(1)'s notation, while inside."""
    script = f"printf '{name}' >/proc/$$/comm; echo; read -r line"
    pipe = subprocess.PIPE
    with subprocess.Popen(("/bin/sh", "-c", script), user=user, cwd="/", stdin=pipe, stdout=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        yield
        process.stdin.close()


@root_on_linux
def test_only_a_process_of_roots_is_the_cron_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "CRON_DAEMONS", {"ioc-test-cron"})

    with process_named("ioc-test-cron", user=ordinary_user.NOBODY):
        assert not machine.is_cron_running()
    with process_named("ioc-test-cron", user=0):
        assert machine.is_cron_running()


@root_on_linux
def test_the_name_of_a_process_is_any_bytes() -> None:
    with process_named(r"\377\376", user=ordinary_user.NOBODY):
        machine.is_cron_running()
