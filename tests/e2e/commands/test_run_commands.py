"""The commands that tell a running agent something: up, down, reload and reconnect, of all tunnels and of some."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes
from tests.rigs.database import pull

from ioconnect.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

    from tests.rigs.agent_scene import AgentScene


@pytest.fixture
def scene(scene: AgentScene) -> AgentScene:
    """A customer with the tunnels `orders` and `pricing`, and an agent that runs `orders` alone."""
    scene.add("pricing")
    scene.customer.run("up", "orders", "--daemon")
    return scene


def told(scene: AgentScene, *arguments: str, expect: int = 0) -> str:
    """Run the command, and return what it says on standard error."""
    done = scene.customer.try_run(*arguments)
    assert done.returncode == expect, f"{arguments}: {done.returncode}\n{done.stderr}\n{scene.customer.log_text()}"
    said: str = done.stderr
    return said


def states(scene: AgentScene) -> dict[str, str]:
    """Return what the agent itself says of each tunnel it has."""
    agent = json.loads(scene.customer.try_run("status", "--json").stdout)
    return {tunnel["name"]: tunnel["state"] for tunnel in agent["tunnels"]}


# --- up beside a running agent


def test_up_of_a_tunnel_that_the_agent_lacks_starts_it_there(scene: AgentScene) -> None:
    pid, port = scene.customer.agent_pid(), scene.port_of("pricing")
    assert not processes.listens(port)

    assert "started pricing" in told(scene, "up", "pricing", "--daemon")

    assert pull(port, 1000)[0] == 1000
    assert scene.customer.agent_pid() == pid
    assert scene.customer.tunnel("orders")["attempts"] == 1


def test_up_reads_the_configuration_again_for_what_is_new(scene: AgentScene) -> None:
    third = scene.add("third")

    said = told(scene, "up")
    assert "started pricing, third" in said
    assert "left alone orders" in said
    processes.wait_until(lambda: pull(third, 1000)[0] == 1000 if processes.listens(third) else False)
    assert "already running" in told(scene, "up", "--daemon")


def test_up_daemon_is_75_while_the_tunnel_that_it_started_is_not_connected(scene: AgentScene) -> None:
    scene.rig.faults.hold_port(scene.port_of("pricing"))

    said = told(scene, "up", "pricing", "--daemon", "--wait", "1", expect=ExitCode.TEMP_FAIL)
    assert "keeps trying" in said
    assert told(scene, "up", "orders", "--daemon", "--wait", "0")


def test_up_of_a_tunnel_with_a_fault_of_its_own_says_it_and_starts_none(scene: AgentScene) -> None:
    config = scene.paths.config.read_text()
    scene.paths.config.write_text(config.replace("[tunnels.pricing]", '[tunnels.pricing]\nidentity = "none"'))

    assert "none" in told(scene, "up", "pricing", "--daemon", expect=ExitCode.NO_INPUT)
    assert "nobody" in told(scene, "up", "nobody", "--daemon", expect=ExitCode.USAGE)
    assert scene.customer.tunnel("orders")["state"] == "connected"


def test_up_says_which_tunnel_runs_with_an_earlier_configuration(scene: AgentScene) -> None:
    scene.change("orders", "max_connections = 7")

    assert "With an earlier configuration: orders" in told(scene, "up", "orders")
    assert scene.customer.tunnel("orders")["attempts"] == 1


# --- down of some


def test_down_of_one_tunnel_frees_its_port_and_leaves_the_others(scene: AgentScene) -> None:
    told(scene, "up", "pricing", "--daemon")
    port = scene.port_of("pricing")

    assert "Stopped pricing; ioconnect up pricing" in told(scene, "down", "pricing")

    assert not processes.listens(port)
    assert states(scene) == {"orders": "connected", "pricing": "stopped"}
    assert scene.customer.tunnel("orders")["attempts"] == 1


def test_a_tunnel_that_was_stopped_stays_so_over_reload_and_comes_back_with_up(scene: AgentScene) -> None:
    told(scene, "up", "pricing", "--daemon")
    told(scene, "down", "pricing")
    said = told(scene, "reload")
    assert "left alone orders.\n" in said
    assert "Not started: pricing. ioconnect up pricing" in said
    scene.change("pricing", "max_connections = 7")

    assert "Not started: pricing. ioconnect up pricing" in told(scene, "reload")
    shown = scene.customer.tunnel("pricing")
    assert (shown["state"], shown["reason"]["code"]) == ("stopped", "stopped")
    assert "ioconnect up pricing" in told(scene, "reconnect", "pricing", expect=ExitCode.UNAVAILABLE)

    told(scene, "up", "pricing", "--daemon")
    assert pull(scene.port_of("pricing"), 1000)[0] == 1000


def test_neither_up_nor_cron_starts_what_was_stopped_by_name(scene: AgentScene) -> None:
    told(scene, "up", "pricing", "--daemon")
    told(scene, "down", "pricing")

    for arguments in (("up",), ("up", "--daemon")):
        said = told(scene, *arguments)
        assert "not started: pricing (stopped by `ioconnect down pricing`)" in said
        assert states(scene)["pricing"] == "stopped"
    assert "Already stopped: pricing" in told(scene, "down", "pricing")
    assert "started pricing" in told(scene, "up", "pricing", "--daemon")


def test_down_of_what_the_agent_does_not_run_stops_nothing(scene: AgentScene) -> None:
    assert "does not run" in told(scene, "down", "orders", "nobody", expect=ExitCode.UNAVAILABLE)
    assert states(scene)["orders"] == "connected"

    told(scene, "down")
    assert "No agent is running" in told(scene, "down", "orders")


# --- reload and reconnect


def test_reload_says_what_it_added_changed_removed_and_left_alone(scene: AgentScene) -> None:
    told(scene, "up", "--daemon")
    scene.add("third")
    scene.change("pricing", "max_connections = 7")

    said = told(scene, "reload")
    assert "added third; changed pricing; left alone orders" in said

    config = scene.paths.config.read_text()
    scene.paths.config.write_text(config[: config.index("[tunnels.third]")])
    done = scene.customer.try_run("reload", "--json")
    changes = json.loads(done.stdout)
    assert (changes["removed"], changes["unchanged"]) == (["third"], ["orders", "pricing"])
    assert (changes["added"], changes["changed"]) == ([], [])


def test_reload_of_an_agent_of_some_tunnels_says_what_it_left_out(scene: AgentScene) -> None:
    said = told(scene, "reload")

    assert "left alone orders" in said
    assert "Not started: pricing" in said
    assert not processes.listens(scene.port_of("pricing"))


def test_reconnect_is_of_the_named_tunnel_alone(scene: AgentScene) -> None:
    assert "only a keepalive was sent: orders." in told(scene, "reconnect", "orders")
    assert "tries now" not in told(scene, "reconnect")
    said = told(scene, "reconnect", "pricing", expect=ExitCode.UNAVAILABLE)
    assert 'does not run a tunnel "pricing"' in said
    assert "ioconnect up pricing" in said
    assert scene.log("reconnect requested: orders")


@pytest.mark.parametrize(
    "arguments", [("reload",), ("reconnect",), ("down",), ("down", "orders"), ("up", "--daemon")]
)
def test_another_configuration_than_the_agents_is_said_and_nothing_done(
    scene: AgentScene, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    other = tmp_path / "other.toml"
    other.write_text(scene.paths.config.read_text())

    said = told(scene, "--config", str(other), *arguments, expect=ExitCode.CONFIG)

    assert f"the agent runs with {scene.paths.config}, not with {other}" in said
    assert states(scene)["orders"] == "connected"
    assert not processes.listens(scene.port_of("pricing"))


def test_the_agents_own_configuration_may_be_named_by_another_path(scene: AgentScene, tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(scene.paths.config)

    assert "left alone orders" in told(scene, "--config", str(link), "reload")
