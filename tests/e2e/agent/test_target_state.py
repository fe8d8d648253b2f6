"""A database that is down: status says so from the first connection that it refuses, until it answers again."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.rigs import processes, stub
from tests.rigs.customer import Customer
from tests.rigs.database import Database, pull

from ioconnect.agent.tunnel.target_health import FIRST_PROBE, PROBE_GROWTH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Scene:
    """A tunnel that is connected, and a database that is not started."""

    def __init__(self, rig: stub.StubRig, customer: Customer) -> None:
        self.customer = customer
        self.database = Database()
        self.port = processes.free_port()
        customer.keygen()
        endpoint, target = f"{rig.host}:{self.port}", f"127.0.0.1:{self.database.port}"
        customer.register("orders", endpoint, target, ssh_port=rig.port)
        paths = customer.paths
        rig.authorize(paths.public_key.read_text(), self.port)
        paths.known_hosts.write_text(rig.known_hosts_line + "\n")
        customer.run("up", "--daemon")

    def target(self) -> dict[str, Any]:
        """Return target_state of `status --json`."""
        found: dict[str, Any] = self.customer.tunnel("orders")["target_state"]
        return found

    def wait_for(self, state: str, *, deadline: float) -> dict[str, Any]:
        """Wait until the target is in this state, and return target_state."""
        found = processes.wait_until(
            lambda: (seen := self.target())["state"] == state and seen,
            deadline=deadline,
            what=f"the target is {state}",
            instead=lambda: f"{self.target()}\n{self.customer.log_text()}",
        )
        assert isinstance(found, dict)
        return found

    def knock(self) -> None:
        """Be a pipeline that is refused."""
        pipeline = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        with pipeline, contextlib.suppress(ConnectionError):
            assert pipeline.recv(1) == b""

    def log(self, needle: str) -> list[str]:
        """Return the lines of the log with this in them."""
        return [line for line in self.customer.log_text().splitlines() if needle in line]


@pytest.fixture
def scene(tmp_path: Path, rig: stub.StubRig) -> Iterator[Scene]:
    """A scene whose agent is ended afterwards."""
    customer = Customer(tmp_path / "home")
    yield Scene(rig, customer)
    customer.close()


def test_a_database_that_is_down_and_comes_back(scene: Scene) -> None:
    """No pipeline tries again, and still it is known that the database answers."""
    customer = scene.customer
    assert scene.target()["state"] == "unknown"
    customer.run("status", "--check")

    scene.knock()
    refused_at = time.monotonic()
    down = scene.wait_for("down", deadline=10)
    assert time.monotonic() - refused_at < 5  # 1 s, and starting the command on a busy machine
    assert (down["failed"], down["reason"]["code"]) == (1, "target_unreachable")
    where = f"127.0.0.1:{scene.database.port}"
    assert down["reason"]["message"] == f"cannot connect to {where}: 127.0.0.1: Connection refused"
    assert down["reason"]["hint"]
    for arguments in ((), ("--json",), ("--check",)):
        customer.run("status", *arguments, expect=75)
    tunnel = customer.tunnel("orders")
    assert (tunnel["state"], tunnel["reason"]) == ("connected", None)

    for _ in range(3):
        scene.knock()
    processes.wait_until(lambda: scene.target()["failed"] == 4, deadline=10, what="four failures are counted")
    assert scene.target()["since"] == down["since"]
    with scene.database as database:
        up = scene.wait_for("up", deadline=FIRST_PROBE * (1 + PROBE_GROWTH) + 10)
        assert (up["failed"], up["reason"]) == (0, None)
        customer.run("status", "--check")
        assert database.accepted == 1  # the probe
        assert pull(scene.port, 1000)[0] == 1000
    assert customer.tunnel("orders")["connections"]["failed"] == 4
    assert len(scene.log("database unreachable")) == 1
    (again,) = scene.log("database answers again after")
    assert again.endswith("4 connections failed")


def test_a_database_that_answers_is_never_probed(scene: Scene) -> None:
    """Every connection that it takes is a pipeline's."""
    with scene.database as database:
        for _ in range(5):
            assert pull(scene.port, 1000)[0] == 1000
        assert scene.wait_for("up", deadline=10)["failed"] == 0
        assert database.accepted == 5
