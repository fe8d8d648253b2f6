"""An agent that root runs acts on nothing that another account could change."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
from tests.rigs.ordinary_user import NOBODY

from ioconnect.custody import strict_modes
from ioconnect.errors import SystemRefused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.rigs.agent_scene import AgentScene

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="others trust themselves")


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


def test_a_reload_takes_no_file_over_that_others_may_change(scene: AgentScene) -> None:
    scene.customer.run("up", "--daemon")
    scene.paths.config.chmod(0o666)

    refused = scene.customer.try_run("reload")

    assert (refused.returncode, "root does not use" in refused.stderr) == (78, True)
    assert scene.carries()
    assert "the agent runs as root" in scene.customer.log_text()


def test_a_program_that_others_may_change_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ioconnect"
    program.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    strict_modes.check_program()
    program.chmod(0o777)

    with pytest.raises(SystemRefused, match=f"root does not run {program}: anybody may write {program}"):
        strict_modes.check_program()
