"""Local faults before a start: each tunnel has its own, and only an agent of which nothing can run is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ioconnect.agent.process import preflight
from ioconnect.config import paths as locations
from ioconnect.config.configuration import Config, HostPort, Tunnel
from ioconnect.errors import ConfigInvalid, HostKeyUnpinned, IdentityMissing, IdentityUnreadable
from ioconnect.keys import identity, known_hosts, private_keys

if TYPE_CHECKING:
    from pathlib import Path

    from ioconnect.config.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """An identity, and a pin of jump.example:22."""
    paths = locations.under(tmp_path)
    identity.generate(paths.identity)
    known_hosts.pin(paths.known_hosts, "jump.example", 22, [private_keys.generate(None)[1]])
    return paths


def tunnel(name: str, port: int, key: Path | None = None, ssh_port: int = 22) -> Tunnel:
    endpoint = HostPort("jump.example", port)
    return Tunnel(name, endpoint, HostPort("localhost", 1), ssh_port=ssh_port, identity=key)


def test_each_tunnel_has_its_own_fault(paths: Paths, tmp_path: Path) -> None:
    open_key = tmp_path / "open"
    identity.generate(open_key)
    open_key.chmod(0o644)
    config = Config(
        tunnels=(
            tunnel("good", 1),
            tunnel("missing", 2, tmp_path / "none"),
            tunnel("open", 3, open_key),
            tunnel("unpinned", 4, ssh_port=23),
        )
    )
    assert {name: type(fault) for name, fault in preflight.faults(config, paths).items()} == {
        "missing": IdentityMissing,
        "open": IdentityUnreadable,
        "unpinned": HostKeyUnpinned,
    }
    preflight.check(config, paths)


def test_an_agent_of_which_nothing_can_run_is_refused_with_the_first_fault(paths: Paths, tmp_path: Path) -> None:
    disabled = Tunnel("good", HostPort("jump.example", 9), HostPort("localhost", 1), ssh_port=22, enabled=False)
    config = Config(tunnels=(tunnel("missing", 2, tmp_path / "none"), tunnel("unpinned", 4, ssh_port=23), disabled))
    with pytest.raises(IdentityMissing):
        preflight.check(config, paths)


def test_pins_that_cannot_be_read_are_everybodys_fault(paths: Paths) -> None:
    paths.known_hosts.unlink()
    paths.known_hosts.mkdir()
    with pytest.raises(ConfigInvalid):
        preflight.check(Config(tunnels=(tunnel("good", 1),)), paths)
