"""Plans the tunnels of an import from what was found, or finds every conflict between them.

Pure: the caller passes the function that finds a line's private key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ioconnect.config import configuration
from ioconnect.config.configuration import Tunnel
from ioconnect.errors import ConfigFault, ConfigInvalid
from ioconnect.importing import unit_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from ioconnect.config.addresses import HostPort
    from ioconnect.config.configuration import Config
    from ioconnect.importing.source import FoundTunnel, Source

    KeyLookup = Callable[[FoundTunnel], Path | None]


@dataclass(frozen=True, slots=True)
class PlannedTunnel:
    """A new tunnel, or one that is configured already (`is_new` false); `found` holds every line for it."""

    tunnel: Tunnel
    found: tuple[FoundTunnel, ...]
    is_new: bool

    @property
    def sources(self) -> tuple[Source, ...]:
        """What starts it today, without repetitions."""
        return tuple(dict.fromkeys(found.source for found in self.found))

    @property
    def ignored(self) -> tuple[str, ...]:
        """The unsupported options of its lines, without repetitions."""
        return tuple(dict.fromkeys(option for found in self.found for option in found.tunnel.ignored))


@dataclass(frozen=True, slots=True)
class Plan:
    """The planned tunnels, and the configuration with all of them."""

    tunnels: tuple[PlannedTunnel, ...]
    config: Config


def make_plan(found: Sequence[FoundTunnel], config: Config, *, own_key: Path, private_key_of: KeyLookup) -> Plan:
    """Plan a tunnel for each endpoint. Raises ConfigInvalid with every conflict."""
    faults: list[ConfigFault] = []
    planned: list[PlannedTunnel] = []
    shared = _units_of_several_tunnels(found)
    for group in _by_endpoint(found):
        existing = _existing(config, group[0])
        name = existing.name if existing else _unique_name(_default_name(group, shared), planned)
        tunnel = existing or _tunnel(group, name, own_key, private_key_of)
        faults += _conflicts(group, tunnel, config, is_new=existing is None)
        planned.append(PlannedTunnel(tunnel, group, is_new=existing is None))
    if faults:
        raise ConfigInvalid(
            "\n".join(f"{fault.path}: {fault.message}" for fault in faults),
            hint="Nothing was imported. Import the right one alone (ioconnect import FILE), or register it by hand.",
            faults=tuple(faults),
        )
    for plan in planned:
        if plan.is_new:
            config = configuration.with_tunnel(config, plan.tunnel, replace=False)
    return Plan(tuple(planned), config)


def _tunnel(group: Sequence[FoundTunnel], name: str, own_key: Path, private_key_of: KeyLookup) -> Tunnel:
    pasted = group[0].tunnel
    assert pasted.target is not None  # `find` refuses an endpoint without one
    key = next((key for found in group if (key := private_key_of(found))), None)
    return Tunnel(
        name,
        pasted.endpoint,
        pasted.target,
        ssh_port=pasted.ssh_port,
        ssh_user=pasted.ssh_user,
        identity=None if key == own_key else key,
    )


def _by_endpoint(found: Sequence[FoundTunnel]) -> Iterable[tuple[FoundTunnel, ...]]:
    groups: dict[HostPort, list[FoundTunnel]] = {}
    for one in found:
        groups.setdefault(one.tunnel.endpoint.normalized, []).append(one)
    return [tuple(group) for group in groups.values()]


def _existing(config: Config, found: FoundTunnel) -> Tunnel | None:
    endpoint = found.tunnel.endpoint.normalized
    return next((tunnel for tunnel in config.tunnels if tunnel.endpoint.normalized == endpoint), None)


def _conflicts(
    group: Sequence[FoundTunnel], tunnel: Tunnel, config: Config, *, is_new: bool
) -> Iterable[ConfigFault]:
    """Yield the conflicts of a group: lines with different settings, or a name that is taken."""
    settings = (tunnel.target, tunnel.ssh_port, tunnel.ssh_user)
    owner = group[0].source.location if is_new else f"the tunnel {tunnel.name}"
    for found in group:
        pasted = found.tunnel
        if (pasted.target, pasted.ssh_port, pasted.ssh_user) != settings:
            other = f"to {pasted.target} as {pasted.ssh_user}, SSH port {pasted.ssh_port}"
            known = f"to {tunnel.target} as {tunnel.ssh_user}, SSH port {tunnel.ssh_port}"
            yield ConfigFault(
                str(tunnel.endpoint), f"leads {other} in {found.source.location}, and {known} in {owner}"
            )
    for known_tunnel in config.tunnels:
        if is_new and known_tunnel.name == tunnel.name:
            message = f"{tunnel.endpoint} in {owner} would get this name, which is {known_tunnel.endpoint}'s already"
            yield ConfigFault(tunnel.name, message)


def _units_of_several_tunnels(found: Sequence[FoundTunnel]) -> set[str]:
    """Return the units that start several tunnels, whose names get a port."""
    endpoints: dict[str, set[HostPort]] = {}
    for one in found:
        endpoints.setdefault(one.source.unit, set()).add(one.tunnel.endpoint.normalized)
    return {unit for unit, distinct in endpoints.items() if len(distinct) > 1}


def _default_name(group: Sequence[FoundTunnel], shared: set[str]) -> str:
    port = group[0].tunnel.endpoint.port
    unit = next((found.source.unit for found in group if found.source.unit), "")
    name = unit_files.tunnel_name(unit)
    if not name:
        return f"tunnel-{port}"
    return f"{name[:56]}-{port}" if unit in shared else name


def _unique_name(wanted_name: str, planned: Sequence[PlannedTunnel]) -> str:
    """Return the name, with a number if another planned tunnel has it."""
    taken = {plan.tunnel.name for plan in planned}
    candidates = (wanted_name, *(f"{wanted_name[:60]}-{number}" for number in range(2, len(taken) + 2)))
    return next(name for name in candidates if name not in taken)
