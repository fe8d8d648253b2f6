"""`status` beside a real agent is true now, whatever became of its files, its process, its configuration."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes, stub
from tests.rigs.customer import Customer

from ioconnect.keys.authorized_keys import parse_public_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def customer(tmp_path: Path, rig: stub.StubRig) -> Iterator[Customer]:
    """A customer whose agent holds the tunnel `orders`."""
    customer = Customer(tmp_path / "home")
    customer.run("keygen")
    register(customer, rig, "orders")
    customer.paths.known_hosts.write_text(rig.known_hosts_line + "\n")
    try:
        customer.run("up", "--daemon")
        yield customer
    finally:
        customer.close()


def register(customer: Customer, rig: stub.StubRig, name: str, *more: str) -> None:
    port = processes.free_port()
    endpoint = f"{rig.host}:{port}"
    customer.run("register", name, "--endpoint", endpoint, "--to", "127.0.0.1:9", "--ssh-port", str(rig.port), *more)
    rig.authorize(customer.paths.public_key.read_text(), port)


def test_a_revoked_key_ends_the_session_at_a_reload(customer: Customer, rig: stub.StubRig) -> None:
    """The tunnel stayed up until something else ended it."""
    customer.paths.known_hosts.write_text(f"{rig.known_hosts_line}\n@revoked {rig.known_hosts_line}\n")
    customer.try_run("reload")

    tunnel = customer.wait_for("held", "orders")
    assert tunnel["reason"]["code"] in {"host_key_changed", "host_key_unpinned"}
    assert rig.fingerprint in customer.log_text()
    assert "(revoked), pinned is none; the pins have changed, and the session was ended" in customer.log_text()


def test_a_marker_that_cannot_be_read_ends_the_session_at_a_reload(customer: Customer, rig: stub.StubRig) -> None:
    """It may mean this key; status says which line it is."""
    customer.paths.known_hosts.write_text(f"{rig.known_hosts_line}\n@Revoked {rig.known_hosts_line}\n")
    customer.try_run("reload")

    tunnel = customer.wait_for("held", "orders")
    assert tunnel["reason"]["code"] == "config_invalid"
    assert "known_hosts, line 2: the marker @Revoked is not known" in tunnel["reason"]["message"]


def test_pins_that_cannot_be_read_end_the_session_at_a_reload(customer: Customer) -> None:
    """They may revoke its key: it stayed up, and green."""
    file = customer.paths.known_hosts
    file.rename(file.with_name("elsewhere"))
    file.mkdir()
    customer.run("reload", expect=78)

    tunnel = customer.wait_for("held", "orders")
    assert tunnel["reason"]["code"] == "config_invalid"
    assert "cannot read the pinned host keys" in tunnel["reason"]["message"]
    assert customer.run("status", "--check", expect=75) == ""


def test_a_session_goes_on_with_pins_that_still_hold(customer: Customer, rig: stub.StubRig) -> None:
    """A reload with a further pin reads it, and disturbs nobody."""
    other = "127.0.0.1:1 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
    customer.paths.known_hosts.write_text(f"{rig.known_hosts_line}\n{other}\n")
    customer.run("reload")

    assert customer.tunnel("orders")["state"] == "connected"
    assert customer.tunnel("orders")["reconnects"] == 0


def test_a_stopped_process_does_not_stay_green(customer: Customer) -> None:
    """SIGSTOP for 40 s showed connected."""
    pid = customer.agent_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        frozen, check, test, examined = customer.try_together(
            ("status",), ("status", "--check"), ("test", "orders"), ("doctor", "--json")
        )
    finally:
        os.kill(pid, signal.SIGCONT)

    assert (frozen.returncode, check.returncode, check.stdout) == (69, 69, "")
    assert frozen.stdout.startswith(f"no answer from the agent (pid {pid}) within 2 s\n")
    assert " ago it wrote:\n" in frozen.stdout
    assert "orders" in frozen.stdout
    assert test.returncode == 69
    assert "All works" not in test.stdout + test.stderr
    forward = next(line for line in test.stdout.splitlines() if " forward " in line)
    assert forward.startswith("fail ")
    assert f"the agent (pid {pid}) does not answer" in forward
    assert examined.returncode != 0
    assert "does not answer" in json.dumps(json.loads(examined.stdout)["tunnels"])
    assert customer.run("status", "--check") == ""


def test_a_lost_tunnel_is_seen_though_nothing_can_be_written(customer: Customer, rig: stub.StubRig) -> None:
    """On a full or read-only disk the last word on it was green for ever. Here a folder is in the way."""
    customer.paths.status.unlink()
    customer.paths.status.mkdir()  # no file can take its place

    rig.faults.revoke(parse_public_key(customer.paths.public_key.read_text()))
    rig.faults.drop()
    lost = customer.wait_for("held", "orders")

    assert lost["down_since"] is not None
    assert customer.run("status", "--check", expect=75) == ""


def test_a_configuration_that_differs_from_what_runs_is_said(customer: Customer, rig: stub.StubRig) -> None:
    """Compared by content; until the agent has taken it over, and also if it is nonsense."""
    file = customer.paths.config
    before = file.read_text()

    def current() -> object:
        return customer.status()["agent"]["config_current"]

    assert customer.status()["agent"]["config"] == str(file)
    assert current() is True
    file.write_text("# a remark\n" + before)
    assert current() is True
    file.write_text("nonsense")
    assert current() is False
    file.write_text(before)
    assert current() is True
    register(customer, rig, "stock")
    assert current() is False
    assert f"{file} differs from what runs: ioconnect reload" in customer.run("status").replace("\n  ", " ")
    customer.run("reload")
    assert current() is True
