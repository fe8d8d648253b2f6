"""The agent as a real process against the stand-in jumphost: start, stop, signals, crashes, status."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.rigs import processes
from tests.rigs.database import pull

from ioconnect.agent.process import launch
from ioconnect.agent.process.stop import stop
from ioconnect.config.paths import under
from ioconnect.errors import ExitCode
from ioconnect.keys.authorized_keys import parse_public_key
from ioconnect.ssh.algorithms import CIPHERS, KEX
from ioconnect.ssh.transport import ClientTransport
from ioconnect.status import lock

if TYPE_CHECKING:
    from tests.rigs.agent_scene import AgentScene


def stderr_of(scene: AgentScene, *arguments: str, expect: int = 0) -> str:
    done = scene.customer.try_run(*arguments)
    assert done.returncode == expect, f"{arguments}: {done.returncode}\n{done.stderr}\n{scene.customer.log_text()}"
    text: str = done.stderr
    return text


# --- up and down


def test_up_returns_when_connected_and_down_when_the_port_is_free_again(scene: AgentScene) -> None:
    scene.customer.run("up", "--daemon")
    assert pull(scene.port, 100_000)[0] == 100_000
    pid = scene.customer.agent_pid()

    scene.customer.run("down")

    assert not processes.is_alive(pid)
    assert not processes.listens(scene.port)
    agent = scene.customer.status()["agent"]
    assert (agent["running"], agent["pid"], agent["started_at"]) == (False, None, None)
    scene.customer.run("down")


def test_up_twice_leaves_the_first_alone(scene: AgentScene) -> None:
    scene.customer.run("up", "--daemon")
    pid = scene.customer.agent_pid()

    assert f"already running (pid {pid})" in stderr_of(scene, "up", "--daemon")
    assert f"already running (pid {pid})" in stderr_of(scene, "up")
    assert scene.customer.agent_pid() == pid
    assert scene.customer.tunnel("orders")["attempts"] == 1


def test_two_ups_at_once_bring_both_their_tunnels_up(scene: AgentScene) -> None:
    """Neither sees an agent yet: the one that is too late has its tunnel started in the agent of the other."""
    scene.add("pricing")
    both = [
        subprocess.Popen(
            [*scene.customer.command, "up", *arguments],
            env=scene.customer.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for arguments in (("orders", "--daemon"), ("pricing", "--daemon"))
    ]
    said = [each.communicate(timeout=30)[1] for each in both]

    assert [each.returncode for each in both] == [0, 0], said
    states = {tunnel["name"]: tunnel["state"] for tunnel in scene.customer.status()["tunnels"]}
    assert states == {"orders": "connected", "pricing": "connected"}, said


def test_a_daemon_that_is_stopped_while_it_starts_is_no_bug(scene: AgentScene) -> None:
    scene.rig.faults.turn_away(b"Not allowed at this time\r\n")
    starting = subprocess.Popen(
        [*scene.customer.command, "up", "--daemon"], env=scene.customer.environment, stderr=subprocess.PIPE, text=True
    )
    processes.wait_until(lambda: scene.customer.status()["agent"]["running"])
    scene.customer.run("down")

    said = starting.communicate(timeout=30)[1]
    assert (starting.returncode, "was stopped while it started" in said) == (69, True), said


def test_the_daemon_holds_no_pipe_of_its_starter(scene: AgentScene) -> None:
    """`$(ioconnect up --daemon)` ends: a shell reads until everybody has let go of its pipe."""
    done = subprocess.run(
        ["sh", "-c", 'x=$("$@" 2>&1); echo "[$x]"', "sh", *scene.customer.command, "up", "--daemon"],
        env=scene.customer.environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )

    assert "every tunnel is connected" in done.stdout
    pid = scene.customer.agent_pid()
    assert os.getsid(pid) == pid
    if Path("/proc/self/cwd").exists():  # not on macOS
        assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")


def test_a_local_fault_leaves_nothing_running_and_names_itself(scene: AgentScene) -> None:
    scene.paths.identity.chmod(0o644)
    text = stderr_of(scene, "up", "--daemon", expect=ExitCode.NO_INPUT)
    assert str(scene.paths.identity) in text

    scene.paths.identity.chmod(0o600)
    scene.paths.known_hosts.unlink()
    text = stderr_of(scene, "up", "--daemon", expect=ExitCode.CONFIG)
    assert "no host key is pinned" in text
    assert "ioconnect pin orders" in text

    assert lock.holder(scene.paths.lock) is None
    assert scene.rig.ledger.counters.connections == 0


def test_the_error_of_a_daemon_that_exits_at_once_is_quoted(tmp_path: Path) -> None:
    told: list[str] = []
    outcome = launch.start(under(tmp_path), ["--no-such-option", "up"], wait=30, progress=told.append)

    assert outcome.code is ExitCode.USAGE
    assert "--no-such-option" in outcome.message
    assert "crash.log" in outcome.hint
    assert told == []


def test_an_unreachable_jumphost_is_retried_and_up_returns_75(scene: AgentScene) -> None:
    scene.rig.faults.turn_away(b"Not allowed at this time\r\n")
    text = stderr_of(scene, "up", "--daemon", "--wait", "1", expect=ExitCode.TEMP_FAIL)

    assert "keeps trying" in text
    tunnel = scene.customer.wait_for("backoff", "orders")
    assert tunnel["reason"]["code"] == "penalized"
    assert tunnel["next_attempt_at"] is not None


# --- ends of all kinds


@pytest.mark.parametrize(("by", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_foreground_agent_leaves_cleanly_with_the_signals_code(
    scene: AgentScene, tmp_path: Path, by: signal.Signals, code: int
) -> None:
    agent = processes.start(
        [*scene.customer.command, "up"], log=tmp_path / "agent.log", env=scene.customer.environment
    )
    scene.customer.wait_for("connected", "orders")

    assert processes.end(agent, by=by) == code
    scene.port_is_freed()
    assert "ended, code" in (tmp_path / "agent.log").read_text()


def test_after_kill_nine_status_says_so_and_the_next_start_works(scene: AgentScene) -> None:
    scene.customer.run("up", "--daemon")
    os.kill(scene.customer.agent_pid(), signal.SIGKILL)
    processes.wait_until(lambda: lock.holder(scene.paths.lock) is None, deadline=5, what="the lock is free")

    status = scene.customer.status()
    assert status["agent"]["running"] is False
    assert status["tunnels"][0]["state"] == "stopped"
    assert "without a word" in status["tunnels"][0]["reason"]["message"]

    scene.customer.run("up", "--daemon")
    assert pull(scene.port, 1000)[0] == 1000


def test_an_agent_that_does_not_answer_is_killed(scene: AgentScene) -> None:
    scene.customer.run("up", "--daemon")
    pid = scene.customer.agent_pid()
    os.kill(pid, signal.SIGSTOP)

    told: list[str] = []
    assert stop(scene.paths, deadline=0.5, say=told.append) == pid
    assert lock.holder(scene.paths.lock) is None
    assert "does not answer" in told[0]


# --- signals


def test_reconnect_ends_the_wait_of_the_tunnel_that_is_named(scene: AgentScene) -> None:
    scene.rig.faults.revoke(scene_key(scene))
    stderr_of(scene, "up", "--daemon", "--wait", "1", expect=ExitCode.TEMP_FAIL)
    held = scene.customer.wait_for("held", "orders")
    assert held["reason"]["code"] == "auth_refused"

    scene.rig.faults.restore(scene_key(scene))
    refused = stderr_of(scene, "reconnect", "nobody", expect=ExitCode.UNAVAILABLE)
    assert 'does not run a tunnel "nobody"' in refused
    assert "ioconnect up nobody" in refused
    assert scene.customer.tunnel("orders")["state"] == "held"

    assert "tries now: orders" in stderr_of(scene, "reconnect", "orders")
    scene.customer.wait_for("connected", "orders")


def scene_key(scene: AgentScene) -> Any:
    from ioconnect.keys.authorized_keys import parse_public_key  # noqa: PLC0415  paramiko comes with it

    return parse_public_key(scene.paths.public_key.read_text())


def test_reload_changes_what_changed_and_carries_the_rest_on(scene: AgentScene) -> None:
    scene.add("second")
    scene.customer.run("up", "--daemon")
    with socket.create_connection(("127.0.0.1", scene.port)) as client:
        client.sendall(b"E" + bytes(8))
        third = scene.add("third")
        config = scene.paths.config.read_text()
        scene.paths.config.write_text(config.replace("[tunnels.second]", "[tunnels.second]\nmax_connections = 7"))
        scene.customer.run("reload")
        scene.customer.wait_for("connected", "third")
        processes.wait_until(lambda: scene.log("reload: added third; changed second"))
        scene.customer.wait_for("connected", "second")

        client.settimeout(20)
        client.sendall(b"still here")
        assert client.recv(100).endswith(b"here")
    assert pull(third, 1000)[0] == 1000
    assert scene.customer.tunnel("orders")["attempts"] == 1
    assert scene.customer.tunnel("second")["attempts"] == 2


def test_a_faulty_reload_is_refused_and_changes_nothing(scene: AgentScene) -> None:
    scene.customer.run("up", "--daemon")
    config = scene.paths.config.read_text()
    scene.paths.config.write_text(config + "\n[tunnels.broken]\nendpoint = 5\n")

    assert "tunnels.broken.endpoint" in stderr_of(scene, "reload", expect=ExitCode.CONFIG)
    os.kill(scene.customer.agent_pid(), signal.SIGHUP)

    processes.wait_until(lambda: len(scene.log("reload refused, going on as before")) == 2)
    assert scene.customer.tunnel("orders")["state"] == "connected"


@pytest.mark.parametrize("arguments", [("reload",), ("reconnect",), ("reconnect", "orders")])
def test_without_an_agent_there_is_nothing_to_tell(scene: AgentScene, arguments: tuple[str, ...]) -> None:
    assert "the agent is not running" in stderr_of(scene, *arguments, expect=ExitCode.UNAVAILABLE)


# --- status and log


def test_status_shows_counters_within_two_seconds(scene: AgentScene) -> None:
    scene.customer.run("up", "--daemon")
    pull(scene.port, 250_000)
    read_at = time.monotonic()
    tunnel = processes.wait_until(
        lambda: (seen := scene.customer.tunnel("orders"))["bytes"]["from_target"] == 250_000 and seen
    )

    assert time.monotonic() - read_at < 5  # 2 s, and starting the command on a busy machine
    assert tunnel["connections"]["total"] == 1
    assert tunnel["host_key"] == scene.rig.fingerprint
    assert tunnel["identity"] == parse_public_key(scene.paths.public_key.read_text()).fingerprint
    kex = KEX[0] if KEX[0] in ClientTransport._kex_info else KEX[1]
    security = {"kex": kex, "cipher": CIPHERS[0], "mac": None, "post_quantum": kex.startswith("mlkem")}
    assert tunnel["security"] == security


def test_everything_that_the_agent_writes_is_private(scene: AgentScene) -> None:
    scene.customer.run("up", "--daemon")

    written = [scene.paths.status, scene.paths.lock, scene.paths.log, scene.paths.log.with_name("crash.log")]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in written}
    assert modes == dict.fromkeys(modes, 0o600)
    assert stat.S_IMODE(scene.paths.state.stat().st_mode) == 0o700
    assert json.loads(scene.paths.lock.read_text())["pid"] == scene.customer.agent_pid()


def test_a_lost_connection_is_two_lines_in_the_log(scene: AgentScene) -> None:
    scene.customer.run("up", "--daemon")
    scene.rig.faults.drop()
    processes.wait_until(lambda: scene.log("orders: connected again"), what="the second connection")

    assert len(scene.log("orders: backoff, lost after")) == 1
    assert len(scene.log("orders: connected after")) == 1
    assert scene.customer.tunnel("orders")["reconnects"] == 1


# --- the service manager


def test_systemd_is_notified_of_ready_status_watchdog_and_stopping(scene: AgentScene, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(10)
        environment = scene.customer.environment | {
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": "400000",
        }
        agent = processes.start([*scene.customer.command, "up"], log=tmp_path / "agent.log", env=environment)
        heard: list[str] = []

        def hear_until(line: str) -> None:
            while line not in heard:
                heard.extend(listener.recv(4096).decode().splitlines())

        hear_until("STATUS=1 of 1 connected")
        assert heard[0] == "READY=1"
        hear_until("WATCHDOG=1")
        heard.clear()
        agent.send_signal(signal.SIGHUP)
        hear_until("READY=1")
        told = [line for line in heard if line != "WATCHDOG=1"]  # which may come in between at any time
        assert told[0] == "RELOADING=1"
        assert told[1].startswith("MONOTONIC_USEC=")
        agent.send_signal(signal.SIGTERM)
        hear_until("STOPPING=1")
        assert processes.end(agent) == 0


def test_it_leaves_no_core_dump(scene: AgentScene) -> None:
    """Its memory holds the private key; `ulimit -c unlimited` is inherited."""
    shell = 'ulimit -Hc unlimited 2>/dev/null; ulimit -Sc "$(ulimit -Hc)"; exec "$@"'
    done = subprocess.run(
        ["sh", "-c", shell, "sh", *scene.customer.command, "up", "--daemon"],
        env=scene.customer.environment,
        check=False,
        timeout=60,
    )

    limits = Path(f"/proc/{scene.customer.agent_pid()}/limits").read_text()
    assert done.returncode == 0
    assert next(line.split()[4:6] for line in limits.splitlines() if line.startswith("Max core")) == ["0", "0"]
