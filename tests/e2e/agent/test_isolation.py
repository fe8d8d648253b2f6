"""A local fault of one tunnel holds that tunnel: the others run, and it heals once its files are mended."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes, stub
from tests.rigs.customer import Customer
from tests.rigs.database import Database

from ioconnect.config.paths import under
from ioconnect.errors import ExitCode
from ioconnect.keys import identity, known_hosts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

GOOD = [f"good{number}" for number in range(20)]


class Fleet:
    """A customer whose configuration is written by hand: twenty good tunnels, and further ones."""

    def __init__(self, rig: stub.StubRig, database: Database, customer: Customer) -> None:
        self.rig = rig
        self.target = f"127.0.0.1:{database.port}"
        self.customer = customer
        self.paths = under(customer.home)
        self.ports: dict[str, int] = {}
        customer.run("keygen")
        self.paths.known_hosts.write_text(rig.known_hosts_line + "\n")

    def table(self, name: str, *lines: str) -> str:
        """Return a tunnel's table, and have the jumphost permit its port."""
        port = self.ports.setdefault(name, processes.free_port())
        self.rig.authorize(self.paths.public_key.read_text(), port)
        head = f'[tunnels.{name}]\nendpoint = "{self.rig.host}:{port}"\ntarget = "{self.target}"\n'
        return head + "".join(f"{line}\n" for line in (f"ssh_port = {self.rig.port}", *lines))

    def write(self, *tables: str) -> None:
        self.paths.config.write_text("schema = 1\n" + "".join(tables))

    def states(self) -> dict[str, str]:
        tunnels: list[dict[str, str]] = self.customer.status()["tunnels"]
        return {tunnel["name"]: tunnel["state"] for tunnel in tunnels}

    def wait_for_states(self, expected: dict[str, str]) -> None:
        processes.wait_until(
            lambda: self.states() == expected, what=f"the tunnels are {expected}", instead=self.states
        )


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with stub.running(tmp_path / "stub") as rig, Database() as database:
        customer = Customer(tmp_path / "home")
        try:
            yield Fleet(rig, database, customer)
        finally:
            customer.close()


def missing(fleet: Fleet, key: Path) -> Callable[[], None]:
    return lambda: make_key(fleet, key)


def readable_by_others(fleet: Fleet, key: Path) -> Callable[[], None]:
    make_key(fleet, key)
    key.chmod(0o644)
    return lambda: key.chmod(0o600)


def of_another_kind(fleet: Fleet, key: Path) -> Callable[[], None]:
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", key], check=True)

    def mend() -> None:
        key.unlink()
        make_key(fleet, key)

    return mend


def make_key(fleet: Fleet, key: Path) -> None:
    fresh = key.with_name("fresh")
    public, _ = identity.generate(fresh)
    fleet.rig.authorize(public, fleet.ports["bad"])
    fresh.rename(key)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (missing, "identity_missing"),
        (readable_by_others, "identity_unreadable"),
        (of_another_kind, "identity_unreadable"),
    ],
)
def test_a_bad_identity_holds_its_tunnel_alone_and_heals_when_mended(
    fleet: Fleet, spoil: Callable[[Fleet, Path], Callable[[], None]], code: str
) -> None:
    key = fleet.customer.home / "other_key"
    fleet.write(*map(fleet.table, GOOD), fleet.table("bad", f'identity = "{key}"'))
    mend = spoil(fleet, key)

    assert fleet.customer.try_run("up", "--daemon", "--wait", "15").returncode == ExitCode.TEMP_FAIL

    assert fleet.states() == {**dict.fromkeys(GOOD, "connected"), "bad": "held"}
    assert fleet.customer.tunnel("bad")["reason"]["code"] == code
    assert fleet.customer.tunnel("bad")["attempts"] == 0
    mend()
    fleet.wait_for_states(dict.fromkeys([*GOOD, "bad"], "connected"))


def test_a_tunnel_without_a_pin_is_held_without_troubling_its_jumphost_until_it_is_pinned(fleet: Fleet) -> None:
    host = f"localhost:{fleet.ports.setdefault('bad', processes.free_port())}"
    unpinned = fleet.table("bad").replace(f"{fleet.rig.host}:{fleet.ports['bad']}", host)
    fleet.write(*map(fleet.table, GOOD), unpinned)

    assert fleet.customer.try_run("up", "--daemon", "--wait", "15").returncode == ExitCode.TEMP_FAIL

    assert fleet.states() == {**dict.fromkeys(GOOD, "connected"), "bad": "held"}
    assert fleet.customer.tunnel("bad")["reason"]["code"] == "host_key_unpinned"
    assert fleet.rig.ledger.counters.connections == len(GOOD)
    blobs = known_hosts.load(fleet.paths.known_hosts).blobs_for(fleet.rig.host, fleet.rig.port)
    known_hosts.pin(fleet.paths.known_hosts, "localhost", fleet.rig.port, blobs)
    fleet.wait_for_states(dict.fromkeys([*GOOD, "bad"], "connected"))
