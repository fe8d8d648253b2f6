"""The unit in the eyes of systemd's own tools, which need no running systemd: no warning, little exposed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.rigs import processes

from ioconnect.installers import machine, systemd
from ioconnect.installers.service import Service

FOLDERS = ["plain", "with space", "100%n", "R&D $HOME", "ünï"]


@pytest.fixture
def analyze() -> str:
    return processes.need_program("systemd-analyze", package="systemd")


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(
        program=(str(tmp_path / "bin" / "ioconnect"),),
        config=tmp_path / "config.toml",
        home=tmp_path,
        log=tmp_path / "log",
        environment=(("IOCONNECT_HOME", str(tmp_path)),),
        credentials=(("ssh-key", tmp_path / "id_ed25519"),),
        systemd_version=machine.systemd_version(),
    )


def installed(service: Service, folder: Path, *, user: bool = False) -> Path:
    """Write the unit, and a program where it says there is one."""
    program = Path(service.program[0])
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = folder / "ioconnect.service"
    unit.write_text(systemd.unit(service, user=user))
    return unit


@pytest.mark.parametrize("user", [False, True], ids=["system", "user"])
@pytest.mark.parametrize("name", FOLDERS)
def test_systemd_has_nothing_to_say(analyze: str, service: Service, tmp_path: Path, name: str, *, user: bool) -> None:
    program = (str(tmp_path / name / "bin" / "ioconnect"),)
    config = tmp_path / f'{name}\'s "own"' / "config.toml"
    unit = installed(replace(service, program=program, config=config), tmp_path, user=user)
    manager = ["--user"] if user else []

    done = processes.run(
        [analyze, *manager, "verify", str(unit)], env={"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path)}
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_program_that_is_not_there_would_be_noticed(analyze: str, service: Service, tmp_path: Path) -> None:
    """The silence above means something: the words of the command line were read as they were meant."""
    unit = installed(service, tmp_path)
    Path(service.program[0]).unlink()

    done = processes.run([analyze, "verify", str(unit)])

    assert str(service.program[0]) in done.stderr


@pytest.mark.parametrize("run_as", [None, "daemon"])
def test_its_exposure_is_small(analyze: str, service: Service, tmp_path: Path, run_as: str | None) -> None:
    unit = installed(replace(service, run_as=run_as), tmp_path)

    done = processes.run([analyze, "security", "--offline=yes", "--threshold=12", "--no-pager", str(unit)])

    assert done.returncode == 0, done.stdout[-200:]


def test_a_users_unit_is_as_little_exposed_as_a_users_manager_can_make_it(
    analyze: str, service: Service, tmp_path: Path
) -> None:
    """All that remains needs namespaces, or another account (docs/services.md)."""
    unit = installed(service, tmp_path, user=True)

    done = processes.run([analyze, "security", "--offline=yes", "--threshold=65", "--no-pager", str(unit)])

    assert done.returncode == 0, done.stdout[-200:]
