"""An agent that root runs acts on nothing that another account could change."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.rigs.ordinary_user import NOBODY

from ioconnect.agent.process import daemon
from ioconnect.config import configuration
from ioconnect.custody import strict_modes
from ioconnect.custody.files import read_regular
from ioconnect.errors import ConfigInvalid, IdentityMissing, SystemRefused
from ioconnect.status import lock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.rigs.agent_scene import AgentScene

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="others trust themselves")


TESTS = [("test", "--json"), ("doctor", "--json")]


def key_permissions(examined: dict[str, Any]) -> str:
    """Return what doctor says about who may change what."""
    fact = next(fact for fact in examined["machine"] if fact["id"] == "key_permissions")
    assert fact["status"] == "warn"
    return str(fact["detail"])


@pytest.mark.parametrize("name", ["config.toml", "known_hosts"])
@pytest.mark.parametrize("change", [lambda path: path.chmod(0o666), lambda path: os.chown(path, NOBODY, 0)])
def test_a_file_that_others_may_change_starts_no_tunnel(
    scene: AgentScene, name: str, change: Callable[[Path], None]
) -> None:
    path = scene.customer.home / name
    change(path)

    refused = scene.customer.try_run("up", "--daemon")

    assert refused.returncode == 78
    assert f"root does not use {path}" in refused.stderr


def test_neither_does_a_folder(scene: AgentScene) -> None:
    scene.customer.home.chmod(0o777)

    refused = scene.customer.try_run("up", "--daemon")

    assert refused.returncode in (73, 78)
    assert f"anybody may write {scene.customer.home}" in refused.stderr


@pytest.mark.parametrize("part", ["config.d", "config.d/more.toml"])
def test_of_a_file_in_config_d_its_own_tunnels_are_left_out(scene: AgentScene, part: str) -> None:
    """As for any other fault of such a file; the tunnels of config.toml run."""
    folder = scene.customer.home / "config.d"
    folder.mkdir(mode=0o755)
    more = folder / "more.toml"
    more.write_text('[tunnels.more]\nendpoint = "127.0.0.1:1"\ntarget = "localhost:1"\n')
    more.chmod(0o644)
    path = scene.customer.home / part
    path.chmod(0o777)
    said = f"root does not use {path}: anybody may write {path}"

    tested = json.loads(scene.customer.run("test", "more", "--json", expect=78))
    scene.customer.run("up", "--daemon", "--wait", "3", expect=75)

    assert tested["checks"][0]["detail"] == said
    assert scene.carries()
    held = [tunnel for tunnel in scene.customer.status()["tunnels"] if tunnel["name"] != "orders"]
    assert [tunnel["reason"]["message"] for tunnel in held] == [said]


def test_a_reload_takes_no_file_over_that_others_may_change(scene: AgentScene) -> None:
    scene.customer.run("up", "--daemon")
    scene.paths.config.chmod(0o666)

    refused = scene.customer.try_run("reload")

    assert (refused.returncode, "root does not use" in refused.stderr) == (78, True)
    assert scene.carries()
    assert "the agent runs as root" in scene.customer.log_text()


@pytest.mark.parametrize(("name", "check"), [("config.toml", "config"), ("known_hosts", "host_key")])
@pytest.mark.parametrize("change", [lambda path: path.chmod(0o666), lambda path: os.chown(path, NOBODY, 0)])
def test_test_and_doctor_say_of_a_file_what_up_says(
    scene: AgentScene, name: str, check: str, change: Callable[[Path], None]
) -> None:
    change(scene.customer.home / name)

    tested, examined = (json.loads(scene.customer.run(*words, expect=78)) for words in TESTS)

    refused = scene.customer.try_run("up", "--daemon").stderr
    failed = [each for each in tested["checks"] if each["status"] == "fail"]
    assert [each["id"] for each in failed] == [check]
    assert f"root does not use {scene.customer.home / name}: " in failed[0]["detail"]
    assert failed[0]["detail"] in refused
    assert failed[0]["hint"] in refused
    assert failed[0]["detail"] in key_permissions(examined)
    assert scene.rig.ledger.counters.auth_requests == 0


def test_they_say_it_of_a_folder(scene: AgentScene) -> None:
    scene.customer.home.chmod(0o777)

    tested, examined = (json.loads(scene.customer.run(*words, expect=78)) for words in TESTS)

    said = f"root does not use {scene.paths.config}: anybody may write {scene.customer.home}"
    assert tested["checks"][0]["detail"] == said
    assert said in key_permissions(examined)


def test_they_say_it_of_the_program(scene: AgentScene, tmp_path: Path) -> None:
    """And try the tunnel all the same, which another account or another installation may run: not so far."""
    program = tmp_path / "ioconnect"
    program.write_text(f"#!{sys.executable}\nfrom ioconnect.cli import main\nmain()\n")
    program.chmod(0o777)
    scene.customer.command = [str(program)]

    refused = scene.customer.try_run("up", "--daemon")
    tested, examined = (json.loads(scene.customer.run(*words, expect=71)) for words in TESTS)

    said = f"root does not run {program}: anybody may write {program}"
    assert said in refused.stderr
    config = tested["checks"][0]
    assert (config["status"], said in config["detail"], tested["ok"]) == ("warn", True, False)
    assert [check["status"] for check in tested["checks"][1:]] == ["pass"] * (len(tested["checks"]) - 1)
    assert "`ioconnect up` would be refused: config." in scene.customer.try_run("test").stderr
    assert config["hint"] in refused.stderr
    assert said in key_permissions(examined)


def test_an_agent_holds_its_lock_while_it_judges_the_program(
    scene: AgentScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So `down` and `status` find one that is starting. The command that starts one has judged for it."""
    holders: list[int | None] = []

    def judge() -> None:
        holders.append(lock.holder(scene.paths.lock))
        raise SystemRefused("root does not run it")

    monkeypatch.setattr(strict_modes, "check_program", judge)
    config = configuration.load(scene.paths.config)
    with pytest.raises(SystemRefused, match="root does not run it"):
        daemon.run(config, scene.paths)
    assert holders == [os.getpid()]
    assert lock.holder(scene.paths.lock) is None

    scene.paths.identity.unlink()
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe:
        with pytest.raises(IdentityMissing):
            daemon.run(config, scene.paths, ready_fd=writing)
        assert b"error" in pipe.read()
    assert len(holders) == 1


def test_the_agent_says_it_when_its_state_is_asked_for(scene: AgentScene) -> None:
    """It takes no file over that others may change, and compares nothing with one."""
    scene.customer.run("up", "--daemon")
    for path, mode in ((scene.paths.config, 0o600), (scene.paths.known_hosts, 0o600), (scene.customer.home, 0o700)):
        path.chmod(mode | 0o066)
        status = scene.customer.status()
        warnings = [warning["message"] for warning in status["tunnels"][0]["warnings"]]
        assert [each for each in warnings if re.match(rf"root does not use {path}.*: anybody", each)], warnings
        path.chmod(mode)

    assert scene.customer.status()["tunnels"][0]["warnings"] == []


def test_an_account_may_change_what_its_own_agent_reads(tmp_path: Path) -> None:
    """Root's `test` and `doctor` beside an agent of another account do not find its files wrong."""
    path = tmp_path / "config.toml"
    path.touch()
    os.chown(tmp_path, NOBODY, NOBODY)
    os.chown(path, NOBODY, NOBODY)

    assert [fault.message for fault in strict_modes.faults([path], account=NOBODY)] == []
    for account in (None, 0, NOBODY - 1):
        with pytest.raises(ConfigInvalid, match=f"root does not use {path}: {tmp_path} belongs to nobody"):
            read_regular(path, limit=1, trusted=strict_modes.trusted(account))
    tmp_path.chmod(0o777)
    path.chmod(0o666)
    os.chown(tmp_path, 0, 0)
    with pytest.raises(ConfigInvalid, match=f"anybody may write {tmp_path}"):
        read_regular(path, limit=1, trusted=strict_modes.trusted(NOBODY))


def test_a_program_that_others_may_change_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ioconnect"
    program.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    strict_modes.check_program()
    program.chmod(0o777)

    with pytest.raises(SystemRefused, match=f"root does not run {program}: anybody may write {program}"):
        strict_modes.check_program()


def imported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have a module of this folder imported; return its file."""
    file = folder / "module_of_a_library.py"
    file.write_text("")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    monkeypatch.setitem(sys.modules, file.stem, importlib.util.module_from_spec(spec))
    return file


def library(tmp_path: Path) -> Path:
    """Make what `import` would find, and return its folder."""
    (tmp_path / "library" / "package").mkdir(parents=True)
    (tmp_path / "library" / "package" / "__init__.py").touch()
    (tmp_path / "library" / "module.py").touch()
    return tmp_path / "library"


@pytest.mark.parametrize("name", ["", "package", "module.py", "hook.pth"])
def test_a_folder_of_modules_that_others_may_change_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Nor what is in it, though nothing is imported from there yet."""
    folder = library(tmp_path)
    monkeypatch.syspath_prepend(folder)
    (folder / "hook.pth").touch()
    (folder / "notes").touch()
    (folder / "notes").chmod(0o666)
    strict_modes.check_program()
    (folder / name).chmod(0o777)

    with pytest.raises(SystemRefused, match=f"root does not run {folder / name}: anybody may write {folder / name}"):
        strict_modes.check_program()
    assert [fault.message for fault in strict_modes.faults([])] == [
        f"root does not run {folder / name}: anybody may write {folder / name}"
    ]


def test_the_working_folder_is_one_where_python_was_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `python -m` does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    strict_modes.check_program()
    os.chown(tmp_path, NOBODY, NOBODY)

    with pytest.raises(SystemRefused, match=f"root does not run {tmp_path}: {tmp_path} belongs to nobody"):
        strict_modes.check_program()


@pytest.mark.parametrize("change", [lambda path: path.chmod(0o666), lambda path: os.chown(path, NOBODY, 0)])
def test_a_module_that_others_may_change_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    """Wherever it was imported from: its folder need not be searched any more."""
    file = imported(tmp_path, monkeypatch)
    strict_modes.check_program()
    change(file)

    with pytest.raises(SystemRefused, match=f"root does not run {file}"):
        strict_modes.check_program()


def test_nor_one_whose_compiled_copy_others_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported(tmp_path, monkeypatch)
    cache = tmp_path / "__pycache__"
    cache.mkdir()
    strict_modes.check_program()
    cache.chmod(0o777)

    with pytest.raises(SystemRefused, match=f"root does not run {cache}: anybody may write {cache}"):
        strict_modes.check_program()
