"""A local fault of one tunnel holds that tunnel: the others run, and it heals once its files are mended."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes, stub
from tests.rigs.customer import Customer

from ioconnect.errors import ExitCode
from ioconnect.keys import identity, known_hosts
from ioconnect.status import lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.rigs.database import Database

GOOD = [f"good{number}" for number in range(20)]


class Fleet:
    """A customer whose configuration is written by hand: twenty good tunnels, and further ones."""

    def __init__(self, rig: stub.StubRig, database: Database, customer: Customer) -> None:
        self.rig = rig
        self.target = f"127.0.0.1:{database.port}"
        self.customer = customer
        self.paths = customer.paths
        self.ports: dict[str, int] = {}
        customer.keygen()
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
            lambda: self.states() == expected,
            deadline=15,
            what=f"the tunnels are {expected}",
            instead=self.states,
        )


@pytest.fixture
def fleet(tmp_path: Path, rig: stub.StubRig, db: Database) -> Iterator[Fleet]:
    customer = Customer(tmp_path / "home")
    yield Fleet(rig, db, customer)
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

    assert fleet.customer.try_run("up", "--daemon", "--wait", "1").returncode == ExitCode.TEMP_FAIL

    fleet.wait_for_states({**dict.fromkeys(GOOD, "connected"), "bad": "held"})
    assert fleet.customer.tunnel("bad")["reason"]["code"] == code
    assert fleet.customer.tunnel("bad")["attempts"] == 0
    mend()
    fleet.wait_for_states(dict.fromkeys([*GOOD, "bad"], "connected"))


def test_a_tunnel_without_a_pin_is_held_without_troubling_its_jumphost_until_it_is_pinned(fleet: Fleet) -> None:
    host = f"localhost:{fleet.ports.setdefault('bad', processes.free_port())}"
    unpinned = fleet.table("bad").replace(f"{fleet.rig.host}:{fleet.ports['bad']}", host)
    fleet.write(*map(fleet.table, GOOD), unpinned)

    assert fleet.customer.try_run("up", "--daemon", "--wait", "1").returncode == ExitCode.TEMP_FAIL

    fleet.wait_for_states({**dict.fromkeys(GOOD, "connected"), "bad": "held"})
    assert fleet.customer.tunnel("bad")["reason"]["code"] == "host_key_unpinned"
    assert fleet.rig.ledger.counters.connections == len(GOOD)
    blobs = known_hosts.load(fleet.paths.known_hosts).blobs_for(fleet.rig.host, fleet.rig.port)
    known_hosts.pin(fleet.paths.known_hosts, "localhost", fleet.rig.port, blobs)
    fleet.wait_for_states(dict.fromkeys([*GOOD, "bad"], "connected"))


# --- files of config.d


def put(fleet: Fleet, name: str, text: str) -> Path:
    folder = fleet.paths.config.with_suffix(".d")
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text)
    return path


def test_a_file_with_a_fault_holds_its_tunnels_and_they_start_once_it_is_mended(fleet: Fleet) -> None:
    fleet.write(fleet.table("orders"))
    put(fleet, "a.toml", fleet.table("stock"))
    bad = put(fleet, "b.toml", fleet.table("pricing", "max_conections = 1") + fleet.table("ledger"))
    worse = put(fleet, "returns.toml", "[tunnels.returns")

    assert fleet.customer.try_run("up", "--daemon", "--wait", "1").returncode == ExitCode.TEMP_FAIL

    good = {"orders": "connected", "stock": "connected"}
    fleet.wait_for_states({**good, "pricing": "held", "ledger": "held", "returns": "held"})
    reason = fleet.customer.tunnel("pricing")["reason"]
    assert reason["code"] == "config_invalid"
    assert "did you mean max_connections?" in reason["message"]
    assert "did you mean max_connections?" in fleet.customer.log_text()
    assert fleet.customer.try_run("status").returncode == ExitCode.TEMP_FAIL

    bad.write_text(fleet.table("pricing") + fleet.table("ledger"))
    good |= {"pricing": "connected", "ledger": "connected"}
    fleet.wait_for_states({**good, "returns": "held"})
    worse.write_text(fleet.table("returns"))
    fleet.wait_for_states({**good, "returns": "connected"})
    assert fleet.customer.tunnel("orders")["attempts"] == 1


def test_a_held_tunnel_takes_its_mended_configuration_and_no_other_does(fleet: Fleet) -> None:
    """A wrong path of its identity is mended in the configuration; what else stands there waits for a reload."""
    fleet.write(fleet.table("orders"), fleet.table("bad", 'identity = "nowhere"'))
    assert fleet.customer.try_run("up", "--daemon", "--wait", "1").returncode == ExitCode.TEMP_FAIL
    fleet.wait_for_states({"orders": "connected", "bad": "held"})

    fleet.write(fleet.table("orders", "max_connections = 7"), fleet.table("bad"), fleet.table("new"))

    fleet.wait_for_states({"orders": "connected", "bad": "connected"})
    assert fleet.customer.tunnel("orders")["attempts"] == 1
    fleet.customer.run("reload")
    fleet.wait_for_states(dict.fromkeys(["orders", "bad", "new"], "connected"))


def test_reload_says_every_fault_of_every_file_and_the_agent_goes_on(fleet: Fleet) -> None:
    fleet.write(fleet.table("orders"))
    put(fleet, "a.toml", fleet.table("stock"))
    fleet.customer.run("up", "--daemon")
    put(fleet, "a.toml", fleet.table("stock", "typo = 1"))
    put(fleet, "b.toml", fleet.table("orders"))
    put(fleet, "c.toml", fleet.table("pricing"))

    done = fleet.customer.try_run("reload")

    assert done.returncode == ExitCode.CONFIG
    assert "tunnels.stock.typo: unknown key" in done.stderr
    assert "tunnels.orders: a tunnel of this name is in the main file already" in done.stderr
    assert fleet.states() == {"orders": "connected", "stock": "connected"}


def test_a_bad_file_does_not_keep_a_tunnel_of_another_from_being_started_by_name(fleet: Fleet) -> None:
    fleet.write(fleet.table("orders"), fleet.table("stock"))
    fleet.customer.run("up", "orders", "--daemon")
    put(fleet, "a.toml", "[tunnels.pricing]\n")

    fleet.customer.run("up", "stock", "--daemon")
    done = fleet.customer.try_run("up", "pricing", "--daemon")

    assert (done.returncode, "tunnels.pricing.endpoint: missing" in done.stderr) == (ExitCode.CONFIG, True)
    assert fleet.states() == {"orders": "connected", "stock": "connected"}


def test_an_agent_whose_every_file_is_bad_does_not_start(fleet: Fleet) -> None:
    fleet.write()
    put(fleet, "a.toml", "[")
    for command in (("up",), ("up", "--daemon")):
        done = fleet.customer.try_run(*command)
        assert (done.returncode, "a.toml: not TOML" in done.stderr) == (ExitCode.CONFIG, True)
    assert lock.holder(fleet.paths.lock) is None


def test_a_disabled_tunnel_is_not_started_until_a_reload_after_it_is_enabled(fleet: Fleet) -> None:
    fleet.write(fleet.table("orders"), fleet.table("stock", "enabled = false"))
    fleet.customer.run("up", "--daemon")
    assert fleet.rig.ledger.counters.connections == 1
    fleet.write(fleet.table("orders"), fleet.table("stock"))
    fleet.customer.run("reload")
    fleet.wait_for_states({"orders": "connected", "stock": "connected"})
    fleet.write(fleet.table("orders"), fleet.table("stock", "enabled = false"))
    fleet.customer.run("reload")
    processes.wait_until(
        lambda: fleet.states().get("stock") != "connected", what="stock is stopped", instead=fleet.states
    )
    assert fleet.customer.tunnel("orders")["attempts"] == 1


# --- drift


def test_status_says_what_differs_from_the_files_when_it_is_asked(fleet: Fleet) -> None:
    fleet.write(fleet.table("orders"), fleet.table("stock"))
    fleet.customer.run("up", "--daemon")

    def seen() -> tuple[bool, dict[str, list[str]]]:
        document = fleet.customer.status()
        warnings = {each["name"]: [warning["code"] for warning in each["warnings"]] for each in document["tunnels"]}
        return document["agent"]["config_current"], warnings

    assert seen() == (True, {"orders": [], "stock": []})

    fleet.write(fleet.table("orders", "ssh_user = 'other'"), fleet.table("stock"))
    assert seen() == (False, {"orders": ["config_changed"], "stock": []})
    fleet.write(fleet.table("orders"), fleet.table("stock"), fleet.table("new"))
    assert seen() == (False, {"orders": [], "stock": []})
    fleet.paths.config.write_text("nonsense")
    assert seen() == (False, {"orders": ["config_invalid"], "stock": ["config_invalid"]})
    assert fleet.customer.try_run("reload").returncode == ExitCode.CONFIG
    fleet.write(fleet.table("orders"), fleet.table("stock"))
    assert seen() == (True, {"orders": [], "stock": []})

    pins = fleet.paths.known_hosts.read_text()
    fleet.paths.known_hosts.write_text(pins + f"{pins.split()[0]} {fleet.paths.public_key.read_text()}")
    assert seen() == (True, {"orders": ["pins_changed"], "stock": ["pins_changed"]})
    fleet.paths.known_hosts.write_text(pins)
    fleet.customer.run("keygen", "--force")
    assert seen() == (True, {"orders": ["identity_changed"], "stock": ["identity_changed"]})
    fleet.paths.identity.unlink()
    assert seen() == (True, {"orders": ["identity_missing"], "stock": ["identity_missing"]})
    assert fleet.states() == {"orders": "connected", "stock": "connected"}
