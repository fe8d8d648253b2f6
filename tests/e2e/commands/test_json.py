"""`--json` of the commands that do something: one document on standard output, whatever comes of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from tests.rigs import processes

from ioconnect.errors import ExitCode
from ioconnect.keys import identity

if TYPE_CHECKING:
    from tests.rigs.agent_scene import AgentScene

ERROR = {"code", "message", "hint", "exit_code", "faults"}


def told(scene: AgentScene, *arguments: str, expect: int = 0) -> dict[str, Any]:
    """Run the command with --json, and return its document: standard output is nothing else."""
    done = scene.customer.try_run(*arguments, "--json")
    assert done.returncode == expect, f"{arguments}: {done.returncode}\n{done.stderr}\n{scene.customer.log_text()}"
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["schema"] == 1
    assert ("error" in document) is (expect != 0)
    if expect:
        assert set(document["error"]) == ERROR
        assert document["error"]["exit_code"] == expect
        assert document["error"]["message"].splitlines()[0] in done.stderr, "people are told as ever"
    return document


def outcomes(document: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {each["name"]: (each["outcome"], each["state"]) for each in document["tunnels"]}


# --- up and down


def test_up_and_down_of_an_agent(scene: AgentScene) -> None:
    scene.add("pricing")

    started = told(scene, "up", "--daemon")
    pid = scene.customer.agent_pid()
    again = told(scene, "up", "--daemon")
    stopped = told(scene, "down")
    nothing = told(scene, "down")

    assert (started["agent"]["running"], started["agent"]["pid"], started["agent"]["was_running"]) == (
        True,
        pid,
        False,
    )
    assert outcomes(started) == {"orders": ("started", "connected"), "pricing": ("started", "connected")}
    assert {each["reason"] for each in started["tunnels"]} == {None}
    assert [each["agent"]["answering"] for each in (started, again, stopped, nothing)] == [True, True, False, False]
    assert (again["agent"]["pid"], again["agent"]["was_running"]) == (pid, True)
    assert outcomes(again) == {"orders": ("unchanged", "connected"), "pricing": ("unchanged", "connected")}
    assert (stopped["agent"]["running"], stopped["agent"]["pid"], stopped["agent"]["was_running"]) == (
        False,
        pid,
        True,
    )
    assert outcomes(stopped) == {"orders": ("stopped", "stopped"), "pricing": ("stopped", "stopped")}
    assert {each["reason"]["code"] for each in stopped["tunnels"]} == {"not_started"}
    assert (nothing["agent"]["pid"], nothing["agent"]["was_running"]) == (None, False)
    assert outcomes(nothing) == {"orders": ("unchanged", "stopped"), "pricing": ("unchanged", "stopped")}


def test_up_and_down_of_one_tunnel(running: AgentScene) -> None:
    running.add("pricing")

    added = told(running, "up", "pricing")
    stopped = told(running, "down", "pricing")
    left = told(running, "up")
    before = told(running, "down", "pricing")
    running.change("orders", "max_connections = 7")
    outdated = told(running, "up", "orders")

    assert [each["outcome"] for each in added["tunnels"]] == ["started"]
    assert outcomes(stopped) == {"pricing": ("stopped", "stopped")}
    assert (stopped["agent"]["running"], stopped["tunnels"][0]["reason"]["code"]) == (True, "stopped")
    assert outcomes(left) == {"orders": ("unchanged", "connected"), "pricing": ("not_started", "stopped")}
    assert outcomes(before) == {"pricing": ("unchanged", "stopped")}
    assert outcomes(outdated) == {"orders": ("outdated", "connected")}


@pytest.mark.parametrize("beside", [True, False])
def test_an_up_that_is_not_connected_in_time_tells_both(scene: AgentScene, *, beside: bool) -> None:
    if beside:
        scene.add("pricing")
        scene.customer.run("up", "orders", "--daemon")
    name = "pricing" if beside else "orders"
    scene.rig.faults.hold_port(scene.port_of(name))

    document = told(scene, "up", name, "--daemon", "--wait", "1", expect=ExitCode.TEMP_FAIL)

    (tunnel,) = document["tunnels"]
    assert (tunnel["name"], tunnel["outcome"], tunnel["state"]) == (name, "started", "standby")
    assert tunnel["reason"]["code"] == "port_busy"
    assert (document["agent"]["running"], document["agent"]["was_running"]) == (True, beside)
    assert document["agent"]["pid"] == scene.customer.agent_pid()


def test_an_up_that_does_not_wait_leaves_an_agent_that_others_find(scene: AgentScene) -> None:
    scene.rig.faults.hold_port(scene.port_of("orders"))

    started = told(scene, "up", "--daemon", "--wait", "0", expect=ExitCode.TEMP_FAIL)
    stopped = told(scene, "down")

    pid = started["agent"]["pid"]
    assert f"the agent runs (pid {pid})" in started["error"]["message"]
    assert (started["agent"]["running"], started["agent"]["was_running"]) == (True, False)
    assert (stopped["agent"]["running"], stopped["agent"]["pid"], stopped["agent"]["was_running"]) == (
        False,
        pid,
        True,
    )


def test_a_fault_is_a_document_too(scene: AgentScene) -> None:
    scene.change("orders", "ssh_prot = 1")

    for arguments in (("up", "--daemon"), ("up",), ("register", "stock", "--endpoint", "a:1", "--to", "b:2")):
        error = told(scene, *arguments, expect=ExitCode.CONFIG)["error"]
        assert error["code"] == "config_invalid"
        assert [each["path"] for each in error["faults"]] == ["tunnels.orders.ssh_prot"]
    assert told(scene, "down")["agent"]["was_running"] is False
    assert told(scene, "reload", expect=ExitCode.UNAVAILABLE)["error"]["code"] is None
    assert told(scene, "up", "--wait", "never", expect=ExitCode.USAGE)["error"]["code"] is None


@pytest.mark.parametrize("arguments", [("--bogus",), ("--wait",)])
def test_options_that_cannot_be_parsed_are_a_fault_too(scene: AgentScene, arguments: tuple[str, ...]) -> None:
    done = scene.customer.try_run("up", "--json", *arguments)
    assert (done.returncode, json.loads(done.stdout)["error"]["exit_code"]) == (ExitCode.USAGE, ExitCode.USAGE)


def test_the_help_is_an_answer_of_its_own(scene: AgentScene) -> None:
    assert scene.customer.run("up", "--json", "--help") == scene.customer.run("up", "--help")


@pytest.mark.parametrize("daemon", [(), ("--daemon",)])
def test_the_fault_of_a_daemon_has_its_code(scene: AgentScene, daemon: tuple[str, ...]) -> None:
    scene.paths.known_hosts.unlink()
    error = told(scene, "up", *daemon, expect=ExitCode.CONFIG)["error"]
    assert (error["code"], error["hint"]) == ("host_key_unpinned", "Run: ioconnect pin orders")


def test_a_down_tells_its_tunnels_without_the_state_folder(running: AgentScene) -> None:
    processes.remove_folder(running.paths.state)
    stopped = told(running, "down")
    assert outcomes(stopped) == {"orders": ("stopped", "stopped")}
    assert (stopped["tunnels"][0]["identity"], stopped["tunnels"][0]["security"]) == (None, None)


def test_a_silent_agent_is_a_fault_with_its_code(running: AgentScene) -> None:
    pid = running.customer.agent_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        error = told(running, "up", expect=ExitCode.UNAVAILABLE)["error"]
    finally:
        os.kill(pid, signal.SIGCONT)

    assert error["code"] == "agent_silent"
    assert f"pid {pid}" in error["message"]


def test_an_agent_that_freezes_while_an_up_waits_is_told_as_such(scene: AgentScene) -> None:
    scene.rig.faults.hold_port(scene.port)
    pid = told(scene, "up", "--daemon", "--wait", "1", expect=ExitCode.TEMP_FAIL)["agent"]["pid"]
    argv = [*scene.customer.command, "up", "--daemon", "--json", "--wait", "20"]
    with subprocess.Popen(
        argv, env=scene.customer.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as up:
        assert up.stderr is not None
        assert "left alone orders" in up.stderr.readline()
        os.kill(pid, signal.SIGSTOP)
        try:
            said, _ = up.communicate(timeout=20)
        finally:
            os.kill(pid, signal.SIGCONT)

    document = json.loads(said)
    assert (up.returncode, document["error"]["code"]) == (ExitCode.UNAVAILABLE, "agent_silent")
    assert (document["agent"]["running"], document["agent"]["answering"]) == (True, False)


@pytest.mark.parametrize("is_busy", [False, True])
def test_an_agent_in_the_foreground_answers_once_and_goes_on(scene: AgentScene, *, is_busy: bool) -> None:
    """When every tunnel is connected or has failed for the first time; the log stays on standard error."""
    if is_busy:
        scene.rig.faults.hold_port(scene.port)
    argv = [*scene.customer.command, "up", "--json"]
    with subprocess.Popen(
        argv, env=scene.customer.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as agent:
        try:
            processes.wait_until(
                lambda: scene.customer.tunnel("orders")["state"] == ("standby" if is_busy else "connected")
            )
        finally:
            agent.send_signal(signal.SIGTERM)
        said, _ = agent.communicate(timeout=20)

    document = json.loads(said)
    assert agent.returncode == 0
    assert (document["agent"]["pid"], document["agent"]["was_running"]) == (agent.pid, False)
    assert outcomes(document) == {"orders": ("started", "standby" if is_busy else "connected")}


# --- the others


def test_keygen_register_and_pin(scene: AgentScene) -> None:
    line = scene.paths.public_key.read_text().strip()
    address = ("--endpoint", f"{scene.rig.host}:58199", "--to", "localhost:3306", "--ssh-port", str(scene.rig.port))

    key = told(scene, "keygen")
    saved, again = told(scene, "register", "stock", *address), told(scene, "register", "stock", *address)
    scene.paths.known_hosts.unlink()
    pinned, same = told(scene, "pin", "stock", "--yes"), told(scene, "pin", "stock", "--yes")

    print_of_key = identity.fingerprint(line)
    file = str(scene.paths.identity)
    assert key == {"schema": 1, "public_key": line, "fingerprint": print_of_key, "file": file, "made": False}
    assert (saved["changed"], again["changed"], saved["pinned"], saved["public_key"]) == (True, False, True, line)
    assert (saved["name"], saved["listen_port"], saved["target"]) == ("stock", 58199, "localhost:3306")
    assert saved["jumphost"] == pinned["jumphost"] == f"{scene.rig.host}:{scene.rig.port}"
    assert (pinned["changed"], same["changed"]) == (True, False)
    assert pinned["fingerprints"] == same["fingerprints"]
    assert all(each.startswith("SHA256:") for each in pinned["fingerprints"])


@pytest.mark.parametrize("arguments", [(), ("--yes",), ("--fingerprint", "bogus")])
def test_a_pin_leaves_with_the_same_code(scene: AgentScene, arguments: tuple[str, ...]) -> None:
    scene.paths.known_hosts.unlink()
    scene.paths.known_hosts.mkdir()
    expected = scene.customer.try_run("pin", *arguments)
    assert expected.returncode == (ExitCode.CONFIG if arguments == ("--yes",) else ExitCode.USAGE)
    told(scene, "pin", *arguments, expect=expected.returncode)


def test_import_tells_what_it_would_make_and_made(scene: AgentScene) -> None:
    script = scene.customer.home / "tunnel.sh"
    script.write_text(f"autossh -M 0 -N -C -R 58188:localhost:5432 sshtunnel@{scene.rig.host} -p {scene.rig.port}\n")

    tried = told(scene, "import", str(script), "--dry-run")
    made = told(scene, "import", str(script), "--yes")
    refused = told(scene, "import", str(script.with_name("none")), expect=ExitCode.USAGE)

    assert (tried["dry_run"], made["dry_run"], tried["tunnels"]) == (True, False, made["tunnels"])
    (tunnel,) = made["tunnels"]
    assert (tunnel["listen_port"], tunnel["target"], tunnel["new"]) == (58188, "localhost:5432", True)
    assert tunnel["sources"] == [str(script)]
    assert "tunnels" not in refused
