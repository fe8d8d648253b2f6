"""Root's `test`, `doctor` and `setup` beside a service of another account that does not run."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import pytest
from tests.rigs.ordinary_user import NOBODY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.rigs.agent_scene import AgentScene

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root asks for other accounts")


@pytest.fixture
def theirs(scene: AgentScene) -> AgentScene:
    """Configuration, pins and key belong to the account that runs the agent."""
    for path in (scene.customer.home, *scene.customer.home.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    return scene


def install_unit(scene: AgentScene, units: Path) -> None:
    """Have a unit for this configuration, in a folder that the command takes for systemd's."""
    units.mkdir()
    unit = f"[Service]\nUser=nobody\nExecStart=/opt/ioconnect --config {scene.paths.config} up\n"
    (units / "ioconnect.service").write_text(unit)
    code = (
        f"import pathlib; from ioconnect.installers import installed; installed.UNITS = pathlib.Path({str(units)!r})"
    )
    scene.customer.command = [sys.executable, "-c", f"{code}; from ioconnect.cli import main; main()"]


def test_the_account_of_the_unit_may_own_its_files(theirs: AgentScene, tmp_path: Path) -> None:
    refused = json.loads(theirs.customer.run("test", "--json", expect=78))
    install_unit(theirs, tmp_path / "units")

    tested = json.loads(theirs.customer.run("test", "--json"))
    facts = json.loads(theirs.customer.try_run("doctor", "--json").stdout)["machine"]

    assert "belongs to nobody" in refused["checks"][0]["detail"]
    assert {check["status"] for check in tested["checks"]} == {"pass"}
    assert next(fact for fact in facts if fact["id"] == "key_permissions")["status"] == "pass"


def test_what_a_third_account_may_change_is_refused_still(theirs: AgentScene, tmp_path: Path) -> None:
    install_unit(theirs, tmp_path / "units")
    os.chown(theirs.paths.known_hosts, NOBODY - 1, NOBODY)

    tested = json.loads(theirs.customer.run("test", "--json", expect=78))

    assert [check["id"] for check in tested["checks"] if check["status"] == "fail"] == ["host_key"]


def test_setup_reaches_the_service_of_the_account_that_it_is_told(theirs: AgentScene) -> None:
    done = theirs.customer.try_run("setup", "orders", "--no-service", "--no-start", "--run-as", "nobody", text_in="")

    assert done.returncode == 0, done.stderr
    assert "Service" in done.stderr
