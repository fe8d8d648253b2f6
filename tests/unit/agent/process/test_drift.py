"""`Drift` reports how the configuration, keys and pins on disk differ from the running agent's, by their content."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ioconnect.agent.process import drift
from ioconnect.agent.process.drift import Drift
from ioconnect.agent.supervisor.reload import Running, RunningTunnel, TunnelConfig
from ioconnect.config import configuration
from ioconnect.config.paths import Paths, under
from ioconnect.errors import CannotCreate
from ioconnect.keys import identity, known_hosts, private_keys
from ioconnect.status.records import Snapshot, State, TunnelStatus

if TYPE_CHECKING:
    from pathlib import Path

HOST_KEY, OTHER_KEY = (private_keys.generate(None)[1] for _ in range(2))


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """An identity, a pin, and a configuration with orders in config.toml and stock in config.d."""
    paths = under(tmp_path)
    identity.generate(paths.identity)
    known_hosts.pin(paths.known_hosts, "jump.example", 50683, [HOST_KEY])
    paths.config.write_text('schema = 1\n[tunnels.orders]\nendpoint = "jump.example:1"\ntarget = "localhost:1"\n')
    further(paths).parent.mkdir()
    further(paths).write_text('[tunnels.stock]\nendpoint = "jump.example:2"\ntarget = "localhost:1"\n')
    return paths


def further(paths: Paths) -> Path:
    return paths.config.with_suffix(".d") / "stock.toml"


def running(paths: Paths, *names: str, state: State = State.CONNECTED) -> Running:
    """Return an agent that has just taken over what the files say."""
    config = configuration.load(paths.config)
    key = identity.fingerprint(identity.public_line(paths.identity))
    pinned = known_hosts.load(paths.known_hosts).fingerprints_for("jump.example", 50683)
    return Running(
        {
            tunnel.name: RunningTunnel(TunnelConfig(tunnel, config.agent), state, key, pinned[0], pinned)
            for tunnel in config.tunnels
            if not names or tunnel.name in names
        },
        frozenset(names),
    )


def seen(paths: Paths, what: Running) -> tuple[bool | None, dict[str, list[str]]]:
    found = drift.differences(what, paths)
    return found.config_current, {name: [each.code for each in found.warnings[name]] for name in found.warnings}


def test_a_configuration_that_was_rewritten_with_the_same_content_is_current(paths: Paths) -> None:
    before = running(paths)
    paths.config.write_text("# a remark\n" + paths.config.read_text())
    assert seen(paths, before) == (True, {})


def test_a_tunnel_that_is_not_this_agents_makes_no_difference(paths: Paths) -> None:
    before = running(paths, "orders")
    further(paths).write_text("")
    assert seen(paths, before) == (True, {})


def test_what_is_no_longer_configured_is_said_of_its_tunnel(paths: Paths) -> None:
    before = running(paths)
    further(paths).write_text(further(paths).read_text() + "enabled = false\n")
    assert seen(paths, before) == (False, {"stock": ["config_changed"]})
    further(paths).unlink()
    assert seen(paths, before) == (False, {"stock": ["config_changed"]})


def test_an_invalid_file_is_said_of_its_tunnels_only(paths: Paths) -> None:
    before = running(paths)
    further(paths).write_text("[")
    assert seen(paths, before) == (False, {"stock": ["config_invalid"]})


def test_only_a_session_can_have_another_key_or_pin(paths: Paths) -> None:
    """What is not signed in reads the files before it dials."""
    connected, waiting = running(paths, "orders"), running(paths, "orders", state=State.BACKOFF)
    identity.generate(paths.identity, force=True)
    known_hosts.pin(paths.known_hosts, "jump.example", 50683, [OTHER_KEY])
    assert seen(paths, connected) == (True, {"orders": ["identity_changed", "pins_changed"]})
    assert (
        "ioconnect down orders and ioconnect up orders"
        in drift.differences(connected, paths).warnings["orders"][0].hint
    )
    assert seen(paths, waiting) == (True, {})


def test_nothing_is_read_unless_a_file_or_what_runs_has_changed(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A status is asked for often: it costs stat(2) only."""
    before = running(paths)
    status = TunnelStatus("orders", State.CONNECTED, "now", None, "jump.example:50683", 1, "localhost:1")
    snapshot = Snapshot(True, 1, "0", None, (status,))
    compared = Drift(paths)
    assert compared.marked(snapshot, before) == replace(snapshot, config_current=True)

    def fail(_path: Path, **_options: object) -> None:
        raise CannotCreate("read again")

    with monkeypatch.context() as patch:
        patch.setattr(configuration, "load", fail)
        assert compared.marked(snapshot, running_again(before)) == replace(snapshot, config_current=True)
        further(paths).unlink()
        with pytest.raises(CannotCreate):
            compared.marked(snapshot, before)
    assert compared.marked(snapshot, before).config_current is False


def running_again(what: Running) -> Running:
    return Running(dict(what.tunnels), what.names)
