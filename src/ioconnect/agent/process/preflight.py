"""Checks identities and pins before any tunnel is started: an agent of which no tunnel can run does not start.

A tunnel with such a local fault is held while the others run; its session finds the same fault before it dials.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ioconnect.agent.supervisor.reload import raise_if_none_can_start
from ioconnect.errors import Fault
from ioconnect.keys.credentials import load_identity, load_pins, require_pin

if TYPE_CHECKING:
    from ioconnect.config.configuration import Config, Tunnel
    from ioconnect.config.paths import Paths
    from ioconnect.keys.known_hosts import Pins


def faults(config: Config, paths: Paths) -> dict[str, Fault]:
    """Return the local fault of each tunnel that has one, by its name, in the order of the configuration.

    They are IdentityMissing, IdentityUnreadable, HostKeyUnpinned, and ConfigInvalid if the pins cannot be read.
    """
    pins = _pins(paths)
    found = {tunnel.name: _fault(tunnel, config, paths, pins) for tunnel in config.enabled}
    return {name: fault for name, fault in found.items() if fault is not None}


def check(config: Config, paths: Paths) -> None:
    """Raise the fault of the first tunnel if no tunnel can be started."""
    raise_if_none_can_start(config, faults(config, paths))


def _fault(tunnel: Tunnel, config: Config, paths: Paths, pins: Pins | Fault) -> Fault | None:
    try:
        load_identity(tunnel, config.agent, paths)
        if not isinstance(pins, Fault):
            require_pin(tunnel, pins)
    except Fault as fault:
        return fault
    return pins if isinstance(pins, Fault) else None


def _pins(paths: Paths) -> Pins | Fault:
    try:
        return load_pins(paths)
    except Fault as fault:
        return fault
