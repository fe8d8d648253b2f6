"""What the agent takes of a machine while it has nothing to do, and after it had: memory, and wake-ups."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING

import pytest
from benchmarks import gauges
from tests.rigs import database, processes, stub
from tests.rigs.agent_scene import AgentScene
from tests.rigs.customer import QUIET
from tests.rigs.database import Database
from tests.rigs.fault_relay import FaultRelay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's figures are read from /proc")

MOST_RESIDENT = 50e6  # bytes, with one tunnel
FOR_A_KEEPALIVE = 2  # its deadline, and the answer
ONE_WAY = 0.02  # seconds, of the link to the jumphost: on loopback an answer is there before the loop sleeps
NEVER = 3600  # seconds, longer than any test


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[str, int], AgentScene]]:
    """Return a function that makes a customer of one jumphost with this keepalive interval, and starts the agent."""
    made: list[AgentScene] = []
    with stub.running(tmp_path / "stub") as rig, FaultRelay(rig.port) as link, Database() as target:
        link.delay = ONE_WAY

        def start(name: str, keepalive: int) -> AgentScene:
            scene = AgentScene(tmp_path / name, rig, target)
            made.append(scene)
            config, pins = scene.paths.config, scene.paths.known_hosts
            over_the_link = config.read_text().replace(f"ssh_port = {rig.port}", f"ssh_port = {link.port}")
            config.write_text(f"{over_the_link}\n[agent]\nkeepalive_interval = {keepalive}\n")
            pins.write_text(pins.read_text().replace(f":{rig.port}", f":{link.port}"))
            scene.customer.run("up", "--daemon")
            return scene

        yield start
        for scene in made:
            scene.customer.close()


@pytest.mark.alone
@pytest.mark.long  # the default run has test_every_state.py::test_an_idle_agent_has_no_wakeups
def test_an_idle_agent_wakes_for_its_keepalives_only(
    make: Callable[[str, int], AgentScene], figure: Callable[[str], None]
) -> None:
    silent, probing = make("silent", NEVER), make("probing", 2)
    pids = {scene: [scene.customer.agent_pid()] for scene in (silent, probing)}
    assert silent.carries()  # the first connection has the target's name resolved, and a deadline
    assert probing.carries()

    def wait_until_quiet(what: str) -> None:
        turns = functools.partial(gauges.wake_ups, pids[silent])
        processes.wait_until_same(turns, seconds=QUIET, deadline=30, what=what)

    wait_until_quiet("what belongs to the start is over")
    ledger, before = probing.rig.ledger, {scene: gauges.wake_ups(pids[scene]) for scene in pids}
    seen = ledger.counters.keepalives
    ledger.wait_for(lambda: ledger.counters.keepalives >= seen + 4, 30)
    wait_until_quiet("the last answer is read")
    keepalives = ledger.counters.keepalives - seen + 1  # one may have been on its way at either end

    woken = {scene: gauges.wake_ups(pids[scene]) - before[scene] for scene in pids}
    figure(f"idle: {woken[silent]} wake-ups without keepalives, {woken[probing]} with {keepalives - 1}")
    assert woken[silent] == 0
    assert woken[probing] <= FOR_A_KEEPALIVE * keepalives


def test_memory_after_some_traffic(make: Callable[[str, int], AgentScene], figure: Callable[[str], None]) -> None:
    scene = make("busy", 10)
    pid = scene.customer.agent_pid()
    at_first = gauges.resident_bytes([pid])
    for _ in range(100):
        assert scene.carries()
    count = 32 << 20
    assert database.pull(scene.port, count) == (count, database.sha256_of(count))
    assert database.push(scene.port, count)[:2] == (count, database.sha256_of(count))
    for _ in range(20):
        scene.customer.run("status", "--check")

    resident = gauges.resident_bytes([pid])
    figure(f"resident with one tunnel: {at_first / 1e6:.1f} MB, {resident / 1e6:.1f} MB after some traffic")
    assert resident <= MOST_RESIDENT
