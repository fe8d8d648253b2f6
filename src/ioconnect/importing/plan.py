"""From what was found to the tunnels that are to be made, or why they cannot be.

Pure: which key a line signs in with is asked of the caller.
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
    from ioconnect.importing.source import Found, Origin


@dataclass(frozen=True, slots=True)
class Planned:
    """One tunnel: as it will be, or as it is already (`is_new` false). `found` holds every line that is for it."""

    tunnel: Tunnel
    found: tuple[Found, ...]
    is_new: bool

    @property
    def origins(self) -> tuple[Origin, ...]:
        """What starts it today, each once."""
        return tuple(dict.fromkeys(found.origin for found in self.found))

    @property
    def ignored(self) -> tuple[str, ...]:
        """Options of its lines that are not followed, each once."""
        return tuple(dict.fromkeys(option for found in self.found for option in found.tunnel.ignored))


@dataclass(frozen=True, slots=True)
class Plan:
    """Every tunnel, and the configuration that has them all."""

    tunnels: tuple[Planned, ...]
    config: Config


def make(found: Sequence[Found], config: Config, *, own_key: Path, key_of: Callable[[Found], Path | None]) -> Plan:
    """Plan a tunnel for each endpoint; raises ConfigInvalid with every conflict at once."""
    faults: list[ConfigFault] = []
    planned: list[Planned] = []
    shared = _sharing_units(found)
    for group in _by_endpoint(found):
        existing = _existing(config, group[0])
        name = existing.name if existing else _free_name(_wanted(group, shared), planned)
        tunnel = existing or _tunnel(group, name, own_key, key_of)
        faults += _conflicts(group, tunnel, config, is_new=existing is None)
        planned.append(Planned(tunnel, group, is_new=existing is None))
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


def _tunnel(group: Sequence[Found], name: str, own_key: Path, key_of: Callable[[Found], Path | None]) -> Tunnel:
    pasted = group[0].tunnel
    assert pasted.target is not None  # who finds them sees to that
    key = next((key for found in group if (key := key_of(found))), None)
    return Tunnel(
        name,
        pasted.endpoint,
        pasted.target,
        ssh_port=pasted.ssh_port,
        ssh_user=pasted.ssh_user,
        identity=None if key == own_key else key,
    )


def _by_endpoint(found: Sequence[Found]) -> Iterable[tuple[Found, ...]]:
    groups: dict[HostPort, list[Found]] = {}
    for one in found:
        groups.setdefault(one.tunnel.endpoint.normalized, []).append(one)
    return [tuple(group) for group in groups.values()]


def _existing(config: Config, found: Found) -> Tunnel | None:
    wanted = found.tunnel.endpoint.normalized
    return next((tunnel for tunnel in config.tunnels if tunnel.endpoint.normalized == wanted), None)


def _conflicts(group: Sequence[Found], tunnel: Tunnel, config: Config, *, is_new: bool) -> Iterable[ConfigFault]:
    """Yield what keeps the group from being this tunnel: other settings, or a name that is taken."""
    settings = (tunnel.target, tunnel.ssh_port, tunnel.ssh_user)
    whose = group[0].origin.where if is_new else f"the tunnel {tunnel.name}"
    for found in group:
        pasted = found.tunnel
        if (pasted.target, pasted.ssh_port, pasted.ssh_user) != settings:
            other = f"to {pasted.target} as {pasted.ssh_user}, SSH port {pasted.ssh_port}"
            known = f"to {tunnel.target} as {tunnel.ssh_user}, SSH port {tunnel.ssh_port}"
            yield ConfigFault(str(tunnel.endpoint), f"leads {other} in {found.origin.where}, and {known} in {whose}")
    for known_tunnel in config.tunnels:
        if is_new and known_tunnel.name == tunnel.name:
            message = f"{tunnel.endpoint} in {whose} would get this name, which is {known_tunnel.endpoint}'s already"
            yield ConfigFault(tunnel.name, message)


def _sharing_units(found: Sequence[Found]) -> set[str]:
    """Return the units that start several tunnels: none of those can have the unit's name alone."""
    endpoints: dict[str, set[HostPort]] = {}
    for one in found:
        endpoints.setdefault(one.origin.unit, set()).add(one.tunnel.endpoint.normalized)
    return {unit for unit, distinct in endpoints.items() if len(distinct) > 1}


def _wanted(group: Sequence[Found], shared: set[str]) -> str:
    port = group[0].tunnel.endpoint.port
    unit = next((found.origin.unit for found in group if found.origin.unit), "")
    name = unit_files.tunnel_name(unit)
    if not name:
        return f"tunnel-{port}"
    return f"{name[:56]}-{port}" if unit in shared else name


def _free_name(wanted: str, planned: Sequence[Planned]) -> str:
    """Return the name, with a number if another of these tunnels has it."""
    taken = {plan.tunnel.name for plan in planned}
    candidates = (wanted, *(f"{wanted[:60]}-{number}" for number in range(2, len(taken) + 2)))
    return next(name for name in candidates if name not in taken)
