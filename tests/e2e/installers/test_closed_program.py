"""A program that the service's account may not read, as with root's umask 027: all is told at once, and mended so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rigs import ordinary_user

import ioconnect
from ioconnect.custody import readers
from ioconnect.installers import machine

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root installs for other accounts")

# As `install-service --run-as nobody` asks, but of what is below the folder: the interpreter may be in root's home.
ASK = """
from ioconnect.custody import readers
from ioconnect.errors import SystemRefused
from ioconnect.installers import machine, reachability, service_description
from ioconnect.installers.service import Service
from pathlib import Path
closed = readers.closed
readers.closed = lambda who, path: [part for part in closed(who, path) if Path(sys.argv[1]) in (part, *part.parents)]
service = Service(program=machine.program(), config=Path("/c"), home=Path("/"), log=Path("/l"))
try:
    service_description._refuse_closed_program(service, machine.account("nobody"))
except SystemRefused as refused:
    print(refused.message, refused.hint, sep="\\n")
"""


@pytest.fixture
def venv() -> Iterator[Path]:
    """A virtual environment that root made with umask 027, where every account may go."""
    with ordinary_user.folder(own=False) as folder:
        made = folder / "venv"
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        libraries = made / "lib" / version / "site-packages"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", made], check=True, umask=0o027)
        shutil.copytree(Path(ioconnect.__file__).parent, libraries / "ioconnect")
        (libraries / "others.pth").write_text(sysconfig.get_path("purelib"))
        subprocess.run(["chmod", "-R", "o-rwx", made], check=True)
        yield made


def asked(venv: Path) -> list[str]:
    code = f"import sys; sys.dont_write_bytecode = True\n{ASK}"
    return subprocess.run(
        [venv / "bin" / "python", "-c", code, str(venv.parent)], capture_output=True, text=True, check=True, cwd="/"
    ).stdout.splitlines()


def test_one_command_opens_all_of_it(venv: Path) -> None:
    refused = asked(venv)

    command = refused[1].removeprefix("To mend it: ").split("; or ")[0]
    assert refused[0] == f"the account nobody may not read {venv}, which ioconnect needs to start"
    assert command == f"chmod -R o+rX {venv}"
    assert "`umask 022`" in refused[1]
    subprocess.run(["sh", "-c", command], check=True)
    assert asked(venv) == []


@pytest.mark.parametrize("closed", ["pyvenv.cfg", "lib", "lib/*/site-packages/ioconnect/agent/session/connect.py"])
def test_what_is_closed_alone_is_told(venv: Path, closed: str) -> None:
    """Without pyvenv.cfg the program died after it was installed."""
    subprocess.run(["chmod", "-R", "o+rX", venv], check=True)
    (path,) = venv.glob(closed)
    path.chmod(0o750 if path.is_dir() else 0o640)

    refused = asked(venv)

    assert f"may not read {venv}" in refused[0]
    subprocess.run(["sh", "-c", refused[1].removeprefix("To mend it: ").split("; or ")[0]], check=True)
    assert asked(venv) == []


def test_folders_further_up_are_told_along(venv: Path) -> None:
    venv.parent.chmod(0o750)

    refused = asked(venv)

    assert f"chmod o+rX {venv.parent} && chmod -R o+rX {venv}" in refused[1]
    subprocess.run(["sh", "-c", refused[1].removeprefix("To mend it: ").split("; or ")[0]], check=True)
    assert asked(venv) == []


def test_all_that_it_depends_on_is_looked_at_in_a_shared_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of paramiko, not loaded when a service is installed, a closed file had the service die at its start."""
    walked: list[Path] = []
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    monkeypatch.setattr(readers, "closed_below", lambda _reader, folder: walked.append(folder) or ())

    machine.closed_program(machine.program(), None)

    assert {"ioconnect", "paramiko", "cryptography", "nacl", "click"} <= {folder.name for folder in walked}
