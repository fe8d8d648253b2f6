"""`setup` on a terminal, from nothing to a tunnel that runs; interrupted at every step, and from a script."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes
from tests.rigs.customer import Customer
from tests.rigs.stub import StubRig, running
from tests.rigs.terminals import CTRL_C, Terminal

from ioconnect import config
from ioconnect.demo.database import Database, ping

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[StubRig]:
    with running(tmp_path / "stub") as stub:
        yield stub


@pytest.fixture
def database() -> Iterator[Database]:
    with Database() as service:
        yield service


@pytest.fixture
def customer(tmp_path: Path, rig: StubRig) -> Iterator[Customer]:  # noqa: ARG001  the agent ends before the jumphost
    machine = Customer(tmp_path / "home")
    yield machine
    machine.close()


def ssh_line(rig: StubRig, target: object = "") -> str:
    """What the UI shows; with no target its placeholder's place is left to the customer."""
    return f"ssh -NR {rig.listen_port}:{target} {rig.user}@{rig.host} -p {rig.port}"


def public_key(customer: Customer) -> str:
    return (customer.home / "id_ed25519.pub").read_text()


def person(customer: Customer, *options: str) -> Terminal:
    return Terminal([*customer.command, "setup", *options], env=customer.environment)


def test_from_nothing_to_a_running_tunnel(customer: Customer, rig: StubRig, database: Database) -> None:
    """The key is handed over while setup waits, as somebody does who has the UI open beside it."""
    with person(customer) as somebody:
        somebody.expect('for the field "Your SSH Public Key"')
        somebody.expect("integrateio-reverse-tunnel")
        somebody.expect("Paste the Tunnel Endpoint")
        assert public_key(customer) in somebody.text
        rig.authorize(public_key(customer), rig.listen_port)
        somebody.type(ssh_line(rig, f"localhost:{database.port}"))
        somebody.expect(f"saved the tunnel default: {rig.host}:{rig.listen_port} leads to localhost:{database.port}")
        somebody.expect(rig.fingerprint)
        somebody.expect("Are these what Integrate.io told you?")
        somebody.type("yes")
        somebody.expect("forward")
        somebody.expect("Keep it running from every start on")
        somebody.type("n")
        code, _ = somebody.leave(deadline=40)

    assert code == 0, somebody.text
    assert "the tunnel default is connected" in somebody.text
    assert customer.tunnel()["state"] == "connected"
    assert ping(rig.listen_port) < 10
