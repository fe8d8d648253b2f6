"""`install-service` and `up` of root judge the same files of the program, and one hint satisfies both."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rigs.customer import Customer
from tests.rigs.ordinary_user import NOBODY

import ioconnect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="others trust themselves")

CONFIG = 'schema = 1\n[tunnels.orders]\nendpoint = "jump.example:40000"\ntarget = "localhost:3306"\n'
# As `install-service --kind systemd` does, up to where it would write the unit. A test may write in /tmp only, and
# its interpreter may be root's alone.
DESCRIBE = """
from ioconnect.errors import SystemRefused
from ioconnect.installers import machine, reachability
from ioconnect.installers.service import Kind
from ioconnect.installers.service_description import describe
reachability.TEMPORARY = ()
reachability.HOMES = ()
machine.closed_program = lambda *_: []
try:
    describe(Kind.SYSTEMD, run_as=None, encrypted=False, config=None, print_only=False)
except SystemRefused as refused:
    print(refused.message, refused.hint, sep="\\n")
"""


class Installation(Customer):
    """ioconnect in a virtual environment of its own, in folders that only root may change."""

    def __init__(self, folder: Path) -> None:
        self.environment_folder = folder / "venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.environment_folder], check=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.libraries = self.environment_folder / "lib" / version / "site-packages"
        shutil.copytree(Path(ioconnect.__file__).parent, self.libraries / "ioconnect")
        (self.libraries / "others.pth").write_text(sysconfig.get_path("purelib"))
        library = self.libraries / "library" / "inner"
        library.mkdir(parents=True)
        (library.parent / "__init__.py").touch()
        (library / "module.py").touch()
        super().__init__(folder / "home")
        (self.home / "config.toml").write_text(CONFIG)
        self.python = str(self.environment_folder / "bin" / "python")
        self.command = [self.python, "-P" if sys.version_info >= (3, 11) else "-I", "-m", "ioconnect"]
        self.run("keygen")

    def refused_by_install_service(self) -> list[str]:
        """Return the message and the hint; nothing if it would be installed."""
        done = subprocess.run(
            [self.python, "-c", DESCRIBE], env=self.environment, capture_output=True, text=True, cwd="/", check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def refused_by_up(self) -> str:
        """Return why the agent does not start, but for the pins, which it has none of."""
        done = self.try_run("up", "--daemon")
        assert done.returncode == (71 if "root does not run" in done.stderr else 78), done.stderr
        return done.stderr if done.returncode == 71 else ""


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path)
    yield made
    made.close()


def give(path: Path) -> None:
    os.chown(path, NOBODY, NOBODY)


def give_all(path: Path) -> None:
    for each in (path, *path.rglob("*")):
        os.chown(each, NOBODY, NOBODY, follow_symlinks=False)


def open_all(path: Path) -> None:
    for each in (path, *path.rglob("*")):
        if not each.is_symlink():
            each.chmod(each.stat().st_mode | 0o022)


@pytest.mark.parametrize(
    ("name", "change", "command"),
    [
        ("ioconnect/cli.py", give, "chown root {}"),
        ("ioconnect/agent/session/connect.py", give, "chown root {}"),
        ("ioconnect/ssh", give_all, "chown -R root {}"),
        ("ioconnect/ssh", open_all, "chmod -R go-w {}"),
        ("ioconnect", give_all, "chown -R root {}"),
        ("library/inner/module.py", give, "chown root {}"),
        ("library/inner", Path.chmod, "chmod -R go-w {}"),
        ("library", give_all, "chown -R root {}"),
        ("", give_all, "chown -R root {}"),
        ("../../..", give_all, "chown -R root {}"),
    ],
)
def test_what_install_service_refuses_up_refuses_until_the_hint_is_followed(
    installation: Installation, name: str, change: Callable[..., None], command: str
) -> None:
    path = Path(os.path.normpath(installation.libraries / name))
    assert (installation.refused_by_install_service(), installation.refused_by_up()) == ([], "")
    change(path, 0o777) if change is Path.chmod else change(path)

    message, hint = installation.refused_by_install_service()

    assert str(path) in message
    assert hint.startswith(command.format(path))
    assert command.format(path) in installation.refused_by_up()
    subprocess.run(["sh", "-c", command.format(path)], check=True)
    assert (installation.refused_by_install_service(), installation.refused_by_up()) == ([], "")


def test_everything_is_told_at_once(installation: Installation) -> None:
    """What is wrong inside of a folder that is wrong itself, and the configuration, belong to it."""
    library, package, config = (
        installation.libraries / "library",
        installation.libraries / "ioconnect",
        installation.home / "config.toml",
    )
    give_all(library)
    open_all(library)
    for name in ("cli.py", "errors.py", "agent/process/daemon.py"):
        give(package / name)
    config.chmod(0o666)

    message, hint = installation.refused_by_install_service()

    for path in (library, package, config):
        assert str(path) in message
    commands = [each.partition(" if that")[0] for each in hint.partition(", or use")[0].split("; ")]
    for each in commands:
        subprocess.run(["sh", "-c", each], check=True)
    assert (installation.refused_by_install_service(), installation.refused_by_up()) == ([], "")


def test_the_demo_trusts_the_owner_and_says_so(installation: Installation) -> None:
    """As in a checkout of one's own with sudo: it runs on loopback, with a key that it throws away."""
    give_all(installation.environment_folder)

    done = installation.try_run("demo")

    assert done.returncode == 0, done.stderr
    assert "the demo trusts its owner (nobody)" in done.stderr
    assert "root does not run" in installation.refused_by_up()


def test_the_demo_does_not_trust_anybody(installation: Installation) -> None:
    open_all(installation.libraries / "ioconnect")

    done = installation.try_run("demo")

    assert (done.returncode, "root does not run" in done.stderr) == (71, True)
    assert "trusts" not in done.stderr


def test_a_service_that_runs_as_root_is_judged_alike(installation: Installation) -> None:
    give_all(installation.libraries / "ioconnect")

    done = installation.try_run("install-service", "--kind", "cron", "--run-as", "root", "--print")

    assert "On this machine: another account could change what the service runs or acts on, and root" in done.stderr
