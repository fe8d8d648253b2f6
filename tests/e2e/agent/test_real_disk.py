"""On a real disk that is full or read-only below a running agent `status` is true and live, and nothing stops."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.rigs import processes, small_disk

from ioconnect.errors import ExitCode
from ioconnect.keys.authorized_keys import parse_public_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.rigs.agent_scene import AgentScene
    from tests.rigs.small_disk import SmallDisk

STOP = 5.0  # seconds within which TERM ends the agent, whatever hangs
NEEDS = 1.5  # seconds that a busy machine may add


@pytest.fixture
def disk(scene: AgentScene, tmp_path: Path) -> Iterator[SmallDisk]:
    """The disk on which everything of the scene's customer is."""
    with small_disk.below(scene, tmp_path) as disk:
        yield disk


def on_disk(scene: AgentScene) -> dict[str, Any]:
    """Return the tunnel in the file for after a crash."""
    tunnel: dict[str, Any] = json.loads(scene.paths.status.read_text())["tunnels"][0]
    return tunnel


def comes_back(scene: AgentScene) -> None:
    """Drop the link, and wait until the agent has it back and it carries bytes."""
    before = scene.customer.tunnel("orders")["reconnects"]
    scene.rig.faults.drop()
    processes.wait_until(
        lambda: scene.customer.tunnel("orders")["reconnects"] > before,
        deadline=20,
        what="the tunnel came back",
        instead=scene.customer.log_text,
    )
    assert scene.customer.tunnel("orders")["state"] == "connected"
    assert scene.carries()


@pytest.mark.parametrize("kind", ["full", "read-only"])
def test_status_is_live_and_the_files_are_right_once_they_can_be_written(
    scene: AgentScene, disk: SmallDisk, kind: str
) -> None:
    """The disk that was full showed connected for ever; the read-only one `connecting`."""
    faults, key = scene.rig.faults, parse_public_key(scene.paths.public_key.read_text())
    scene.customer.run("up", "--daemon")
    begin, end = _ways(disk, kind)
    begin()
    comes_back(scene)
    assert scene.customer.run("status", "--check") == ""
    assert on_disk(scene)["reconnects"] == 0  # nothing could take its place, and it is whole

    faults.revoke(key)
    faults.drop()
    lost = scene.customer.wait_for("held", "orders", deadline=30)
    assert lost["reason"]["code"] == "auth_refused"
    assert scene.customer.run("status", "--check", expect=ExitCode.TEMP_FAIL) == ""
    assert scene.customer.try_run("test", "orders").returncode != 0

    faults.restore(key)
    scene.customer.run("reconnect", "orders")
    scene.customer.wait_for("connected", "orders", deadline=30)
    end()
    comes_back(scene)
    processes.wait_until(
        lambda: on_disk(scene)["reconnects"] == scene.customer.tunnel("orders")["reconnects"],
        what="the file says what the agent does",
        instead=scene.customer.log_text,
    )
    assert on_disk(scene)["state"] == "connected"
    assert len(scene.log("status shows what was written last")) + len(scene.log("lines were lost")) >= 1
    assert all(line.startswith("20") for line in scene.customer.log_text().splitlines())  # no half of a line
    scene.customer.run("down")
    assert on_disk(scene)["state"] == "stopped"


@pytest.mark.parametrize("kind", ["full", "read-only"])
def test_term_ends_it_and_a_start_says_what_is_wrong(scene: AgentScene, disk: SmallDisk, kind: str) -> None:
    scene.customer.run("up", "--daemon")
    pid = scene.customer.agent_pid()
    begin, end = _ways(disk, kind)
    begin()
    comes_back(scene)

    began = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    processes.wait_until(lambda: not processes.is_alive(pid), what="the agent has ended")
    assert time.monotonic() - began < STOP + NEEDS
    scene.port_is_freed()
    assert scene.customer.run("status", "--check", expect=ExitCode.UNAVAILABLE) == ""

    done = scene.customer.try_run("up", "--daemon")
    if kind == "full":  # whatever it needs is there already
        assert done.returncode == 0
    else:
        assert (done.returncode, "Read-only file system" in done.stderr) == (ExitCode.CANNOT_CREATE, True)
    end()
    scene.customer.run("up", "--daemon")
    assert scene.carries()


def test_a_start_on_a_full_disk_says_why_it_does_not_connect(scene: AgentScene, disk: SmallDisk) -> None:
    """It asks the agent, whose status file cannot be written."""
    scene.customer.run("up", "--daemon")
    scene.customer.run("down")
    scene.rig.faults.revoke(parse_public_key(scene.paths.public_key.read_text()))
    disk.fill()

    done = scene.customer.try_run("up", "--daemon", "--wait", "6")

    assert done.returncode == ExitCode.TEMP_FAIL
    assert "does not accept this machine's key" in done.stderr
    assert "it has not said what it does" not in done.stderr


def _ways(disk: SmallDisk, kind: str) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return how the disk gets into this state, and out of it again."""
    return {"full": (disk.fill, disk.make_room), "read-only": (disk.make_read_only, disk.make_writable)}[kind]
