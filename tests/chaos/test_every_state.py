"""Whatever the agent is doing, it obeys: signals in every state, a port that is free at once, a careful reload.

And what it says of itself meanwhile: the log, and a status that is true.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.rigs import processes, stub
from tests.rigs.customer import Customer
from tests.rigs.database import Database, call, exactly, pull
from tests.rigs.fault_relay import FaultRelay

from ioconnect.keys.authorized_keys import parse_public_key
from ioconnect.status import lock

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Figure = Callable[[str], None]

ENDS_WITHIN = 1.5  # seconds; the promise is one, the rest is the busy machine's


class Scene:
    """A jumphost behind a relay, a database, and an agent in the foreground that the test is the parent of."""

    def __init__(self, folder: Path, rig: stub.StubRig, relay: FaultRelay, database: Database) -> None:
        self.rig, self.relay, self.database = rig, relay, database
        self.customer = Customer(folder / "home")
        self.paths = self.customer.paths
        self.output = folder / "agent.log"
        self.key = self.customer.keygen()
        self.port = self.add("orders")
        self.paths.known_hosts.write_text(f"[{rig.host}]:{relay.port} {rig.host_key_line}\n")
        self.agent: subprocess.Popen[bytes] | None = None

    def add(self, name: str) -> int:
        port = processes.free_port()
        self.rig.authorize(self.key, port)
        endpoint, target = f"{self.rig.host}:{port}", f"127.0.0.1:{self.database.port}"
        self.customer.register(name, endpoint, target, ssh_port=self.relay.port)
        return port

    def up(self, *options: str) -> subprocess.Popen[bytes]:
        command = [*self.customer.command, *options, "up"]
        self.agent = processes.start(command, log=self.output, env=self.customer.environment)
        processes.wait_until(lambda: "ioconnect 0" in self.said(), what="the agent runs")
        return self.agent

    def said(self) -> str:
        return self.output.read_text() if self.output.exists() else ""

    def lines(self, needle: str) -> list[str]:
        return [line for line in self.said().splitlines() if needle in line]

    def close(self) -> None:
        if self.agent is not None:
            processes.end(self.agent)
        self.customer.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with stub.running(tmp_path / "stub") as rig, FaultRelay(rig.port) as relay, Database() as database:
        scene = Scene(tmp_path, rig, relay, database)
        try:
            yield scene
        finally:
            scene.close()


def never_answered(scene: Scene) -> None:
    scene.rig.faults.banner_silence()


def refused(scene: Scene) -> None:
    scene.relay.refuse()


def busy(scene: Scene) -> None:
    scene.rig.faults.hold_port(scene.port)


def revoked(scene: Scene) -> None:
    scene.rig.faults.revoke(parse_public_key(scene.key))


def untroubled(_scene: Scene) -> None:
    pass


SITUATIONS: dict[str, tuple[Callable[[Scene], None], str]] = {
    "connecting": (never_answered, "connecting"),
    "connected": (untroubled, "connected"),
    "backoff": (refused, "backoff"),
    "standby": (busy, "standby"),
    "held": (revoked, "held"),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_every_signal_in_every_state(scene: Scene, figure: Figure, situation: str) -> None:
    trouble, state = SITUATIONS[situation]
    trouble(scene)
    agent = scene.up()
    scene.customer.wait_for(state, "orders")

    agent.send_signal(signal.SIGHUP)
    processes.wait_until(lambda: scene.lines("reload: nothing changed"), what="the reload")
    scene.customer.run("reconnect")
    assert scene.lines("reconnect requested")
    scene.customer.wait_for(state, "orders")
    assert agent.poll() is None

    asked = time.monotonic()
    assert processes.end(agent, by=signal.SIGTERM) == 0
    took = time.monotonic() - asked
    figure(f"TERM while {situation}: gone after {took:.2f} s")
    assert took <= ENDS_WITHIN
    assert lock.holder(scene.paths.lock) is None
    processes.wait_until(lambda: not scene.rig.jumphost.sessions(), what="the session is over there too")
    assert scene.customer.status()["tunnels"][0]["state"] == "stopped"


def test_interrupted_while_it_dials_is_130(scene: Scene) -> None:
    never_answered(scene)
    agent = scene.up()

    assert processes.end(agent, by=signal.SIGINT) == 130


def test_a_second_term_ends_it_at_once(scene: Scene, figure: Figure) -> None:
    """The first cannot be obeyed in good order: nothing that is sent gets through, and the buffers are full."""
    agent = scene.up()
    scene.customer.wait_for("connected", "orders")
    with call(scene.port, b"S", 1 << 30) as reader:
        exactly(reader, 1 << 20)
        scene.rig.faults.freeze()
        scene.relay.black_hole()
        agent.send_signal(signal.SIGTERM)
        processes.wait_until(lambda: scene.lines("stopping"))
        asked = time.monotonic()
        assert processes.end(agent, by=signal.SIGTERM) == 0
        took = time.monotonic() - asked
    scene.relay.heal()
    figure(f"second TERM while nothing gets out: gone after {took:.2f} s")
    assert took <= ENDS_WITHIN


def test_down_frees_the_port(scene: Scene, figure: Figure) -> None:
    scene.customer.run("up", "--daemon")
    assert pull(scene.port, 1000)[0] == 1000
    freed: list[float] = []

    def watch() -> None:
        while scene.rig.jumphost.listens_on(scene.port):
            threading.Event().wait(0.005)
        freed.append(time.monotonic())

    watcher = threading.Thread(target=watch)
    watcher.start()
    pid, asked = scene.customer.agent_pid(), time.monotonic()
    os.kill(pid, signal.SIGTERM)
    watcher.join(10)
    took = freed[0] - asked
    figure(f"down: the jumphost has the port free after {took:.3f} s")
    assert took <= 1.0


def test_kill_nine_leaves_nothing_that_stops_the_next_start(scene: Scene, figure: Figure) -> None:
    """Over and over, in the middle of whatever it was doing; the kernel's FIN frees the port."""
    for _ in range(3):
        began = time.monotonic()
        scene.customer.run("up", "--daemon")
        took = time.monotonic() - began
        os.kill(scene.customer.agent_pid(), signal.SIGKILL)
        processes.wait_until(lambda: lock.holder(scene.paths.lock) is None, deadline=5, what="the lock is free")
    figure(f"started and connected {took:.2f} s after kill -9")
    assert took <= 10


def test_a_reload_changes_adds_and_removes_and_touches_no_other(scene: Scene) -> None:
    changed, removed = scene.add("changed"), scene.add("removed")
    scene.customer.run("up", "--daemon")
    with contextlib.ExitStack() as talks:
        talk = talks.enter_context(call(scene.port, b"E"))
        to_removed = talks.enter_context(call(removed, b"E"))
        for each in (talk, to_removed):
            each.sendall(b"!")
            assert exactly(each, 1) == b"!"

        added = scene.add("added")
        text = scene.paths.config.read_text()
        text = text.replace("[tunnels.changed]", "[tunnels.changed]\nmax_connections = 3")
        start = text.index("[tunnels.removed]")
        end = text.find("[tunnels.", start + 1)
        scene.paths.config.write_text(text[:start] + (text[end:] if end > 0 else ""))
        scene.customer.run("reload")
        scene.customer.wait_for("connected", "added")
        processes.wait_until(lambda: not scene.rig.jumphost.listens_on(removed), what="the removed port is free")

        assert {tunnel["name"] for tunnel in scene.customer.status()["tunnels"]} == {"orders", "changed", "added"}
        scene.customer.wait_for("connected", "changed")
        assert [pull(port, 10)[0] for port in (changed, added)] == [10, 10]
        with pytest.raises(OSError, match=r"reset|ended"):
            exactly(to_removed, 1)
        talk.sendall(b"?")
        assert exactly(talk, 1) == b"?"
    assert scene.customer.tunnel("orders")["attempts"] == 1


# --- the log


@pytest.mark.long
def test_an_outage_is_a_line_when_it_begins_when_its_reason_changes_and_when_it_ends(scene: Scene) -> None:
    scene.up()
    scene.customer.wait_for("connected", "orders")
    before = scene.customer.tunnel("orders")["attempts"]
    scene.relay.refuse()
    scene.relay.reset()
    processes.wait_until(
        lambda: scene.customer.tunnel("orders")["attempts"] >= before + 5, deadline=25, what="five retries"
    )
    scene.rig.faults.turn_away(b"Exceeded MaxStartups\r\n")
    scene.relay.listen()
    processes.wait_until(lambda: scene.lines("too_many_connections"), deadline=15)
    scene.rig.faults.welcome()
    scene.customer.run("reconnect")
    scene.customer.wait_for("connected", "orders")

    told = [line.split(" ", 2)[2] for line in scene.lines("orders: ")]
    codes = [re.findall(r"\[([a-z_]+)\]", line) for line in told]
    assert [line.split()[1].rstrip(",") for line in told] == [
        "connecting",
        "connected",
        *["backoff"] * 3,
        "connected",
    ]
    assert codes == [[], [], ["connection_lost"], ["unreachable"], ["too_many_connections"], []]
    assert "lost after" in told[2]
    assert "not connected for" in told[3]
    assert re.search(r"connected again after \d", told[5])


def test_a_forwarded_connection_is_one_line_at_its_end_with_v(scene: Scene) -> None:
    scene.up("-v")
    scene.customer.wait_for("connected", "orders")
    with call(scene.port, b"S", 5000) as talk:
        source = talk.getsockname()[1]
        while talk.recv(4096):
            pass
    processes.wait_until(lambda: scene.lines(f"port {source} ended"))

    (line,) = scene.lines(f"port {source} ended")
    assert f"DEBUG orders: connection from 127.0.0.1 port {source} ended after" in line
    assert line.endswith("s: 5000 bytes from the target, 9 to it")


def test_verbose_shows_the_protocol_and_never_a_secret(scene: Scene) -> None:
    secret = "hunter2-" * 3
    with FaultRelay(scene.relay.port) as nothing:
        proxy = f"http://somebody:{secret}@127.0.0.1:{nothing.port}"
        text = scene.paths.config.read_text().replace("[tunnels.orders]", f'[tunnels.orders]\nproxy = "{proxy}"')
        scene.paths.config.write_text(text)
        scene.paths.config.chmod(0o600)
        scene.up("-v")
        scene.customer.wait_for("backoff", "orders", deadline=40)
        scene.paths.config.write_text(text.replace(proxy, "none"))
        scene.customer.run("reload")
        scene.customer.wait_for("connected", "orders", deadline=20)

    said = scene.said()
    assert "Cipher: " in said
    assert secret not in said
    assert secret not in json.dumps(scene.customer.status())
    body = "".join(line for line in scene.paths.identity.read_text().splitlines() if not line.startswith("-"))
    assert body[100:160] not in said


# --- the status


def test_a_reader_never_sees_half_a_status(scene: Scene) -> None:
    """A reader that looks all the time, while everything changes all the time."""
    scene.up()
    scene.customer.wait_for("connected", "orders")
    over, faults, reads = threading.Event(), [], [0]

    def look() -> None:
        while not over.is_set():
            try:
                json.loads(scene.paths.status.read_bytes())["tunnels"][0]["state"]
            except (ValueError, KeyError, IndexError, OSError) as error:
                faults.append(error)
            reads[0] += 1

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for _ in range(3):
            scene.relay.reset()
            processes.wait_until(lambda: works(scene.port), what="it is back")
    finally:
        over.set()
        reader.join()
    assert faults == []
    assert reads[0] > 100


def works(port: int) -> bool:
    with contextlib.suppress(OSError):
        return pull(port, 100_000)[0] == 100_000
    return False


@pytest.mark.alone
def test_the_status_is_at_most_two_seconds_old(scene: Scene, figure: Figure) -> None:
    """Also the bytes of a connection that goes on and on."""
    scene.up()
    scene.customer.wait_for("connected", "orders")
    worst = 0.0
    with call(scene.port, b"E") as talk:
        for count in range(1, 5):
            talk.sendall(b"x" * 1000)
            exactly(talk, 1000)
            sent = time.monotonic()
            expected = 1000 * count
            processes.wait_until(lambda expected=expected: bytes_of(scene) == expected)
            worst = max(worst, time.monotonic() - sent)
    figure(f"status: bytes are shown at most {worst:.2f} s after they went by")
    assert worst <= 2.0


def bytes_of(scene: Scene) -> int:
    count: int = json.loads(scene.paths.status.read_bytes())["tunnels"][0]["bytes"]["from_target"]
    return count


def test_after_a_crash_status_says_so_with_the_last_known_reason(scene: Scene) -> None:
    refused(scene)
    agent = scene.up()
    scene.customer.wait_for("backoff", "orders")
    processes.end(agent, by=signal.SIGKILL)

    done: Any = scene.customer.try_run("status", "--json")
    assert done.returncode == 69
    (tunnel,) = json.loads(done.stdout)["tunnels"]
    assert tunnel["state"] == "stopped"
    assert tunnel["reason"]["code"] == "unreachable"
    assert "without a word" in tunnel["reason"]["message"]
    assert "refused" in tunnel["reason"]["message"]


@pytest.mark.alone  # who is kept waiting for the processor wakes more often
def test_an_idle_agent_has_no_wakeups(scene: Scene, figure: Figure) -> None:
    """Between keepalives nothing runs: the threads' voluntary context switches tell."""
    agent = scene.up()
    scene.customer.wait_for("connected", "orders")
    assert pull(scene.port, 10)[0] == 10
    processes.wait_until(lambda: scene.customer.tunnel("orders")["connections"]["total"] == 1)
    settled = time.monotonic() + 1.5  # the last counters are published
    processes.wait_until(lambda: time.monotonic() > settled, deadline=3)

    before = wakes(agent.pid)
    over = time.monotonic() + 3
    processes.wait_until(lambda: time.monotonic() > over, deadline=4)
    count = wakes(agent.pid) - before
    figure(f"an idle agent was woken {count} times in 3 s")
    assert count <= 5  # one keepalive may fall into it


def wakes(pid: int) -> int:
    """Return how often the process's threads have gone to sleep, all together."""
    tasks = f"/proc/{pid}/task"
    if not os.path.isdir(tasks):  # noqa: PTH112  only Linux has it
        pytest.skip("needs Linux (/proc)")
    total = 0
    for task in os.listdir(tasks):  # noqa: PTH208
        with open(f"{tasks}/{task}/status") as file:  # noqa: PTH123
            total += next(int(line.split()[1]) for line in file if line.startswith("voluntary"))
    return total


def test_a_port_that_a_client_holds_open_does_not_delay_the_end(scene: Scene) -> None:
    """A client that neither reads nor closes: its connection is cut, the agent leaves."""
    agent = scene.up()
    scene.customer.wait_for("connected", "orders")
    with socket.create_connection(("127.0.0.1", scene.port)) as silent:
        silent.sendall(b"S" + (1 << 30).to_bytes(8, "big"))
        assert silent.recv(1)
        asked = time.monotonic()
        assert processes.end(agent) == 0
        assert time.monotonic() - asked <= ENDS_WITHIN
