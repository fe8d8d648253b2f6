"""The difference between what runs and a configuration: which tunnels are added, changed, removed and unchanged.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  dataclasses resolve it at run time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ioconnect.status.records import State  # noqa: TC001  as above

if TYPE_CHECKING:
    from ioconnect.config.configuration import AgentSettings, Config, Tunnel
    from ioconnect.errors import Fault


@dataclass(frozen=True, slots=True)
class TunnelConfig:
    """The configuration of a tunnel."""

    tunnel: Tunnel
    settings: AgentSettings


@dataclass(frozen=True, slots=True)
class RunningTunnel:
    """What a tunnel runs with; fingerprints: of our key, of the host key, and of all that were pinned."""

    config: TunnelConfig
    state: State
    identity: str | None
    host_key: str | None
    pinned: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Running:
    """What an agent runs; `names` are those that it was told to run, none: all that are configured."""

    tunnels: Mapping[str, RunningTunnel]
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Changes:
    """What a reload or a start of tunnels does; its str is the log line.

    `outdated` run with an earlier configuration and go on with it; `not_started` are configured and not run here.
    """

    added: tuple[TunnelConfig, ...] = ()
    changed: tuple[TunnelConfig, ...] = ()
    removed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    outdated: tuple[str, ...] = ()
    not_started: tuple[str, ...] = ()

    def __str__(self) -> str:
        groups = (
            ("added", [new.tunnel.name for new in self.added]),
            ("changed", [new.tunnel.name for new in self.changed]),
            ("removed", list(self.removed)),
        )
        return "; ".join(f"{what} {', '.join(names)}" for what, names in groups if names) or "nothing changed"


def raise_if_none_can_start(config: Config, faults: Mapping[str, Fault]) -> None:
    """Raise the fault of the first tunnel if each that is enabled has one."""
    found = [faults.get(tunnel.name) for tunnel in config.enabled]
    if found and found[0] is not None and None not in found:
        raise found[0]


def compare(running: Mapping[str, TunnelConfig], new: Config) -> Changes:
    """Return the changes; a changed agent setting that a tunnel overrides does not change that tunnel."""
    configs = {tunnel.name: TunnelConfig(tunnel, new.agent) for tunnel in new.tunnels}
    same = {name for name in configs if name in running and is_same(running[name], configs[name])}
    return Changes(
        added=tuple(configs[name] for name in configs if name not in running),
        changed=tuple(configs[name] for name in configs if name in running and name not in same),
        removed=tuple(name for name in running if name not in configs),
        unchanged=tuple(name for name in configs if name in same),
    )


def keeps_session(one: TunnelConfig, other: TunnelConfig) -> bool:
    """Whether a session goes on with the other configuration: nothing differs but how its standby counts."""
    return is_same(TunnelConfig(replace(one.tunnel, standby=other.tunnel.standby), one.settings), other)


def is_same(one: TunnelConfig, other: TunnelConfig) -> bool:
    """Whether everything that this tunnel uses is the same in either configuration."""
    return _effective(one.tunnel, one.settings) == _effective(other.tunnel, other.settings)


def _effective(tunnel: Tunnel, settings: AgentSettings) -> object:
    """Return all settings that a session of this tunnel uses."""
    return (
        tunnel,
        tunnel.identity or settings.identity,
        settings.keepalive_interval,
        settings.keepalive_count_max,
        settings.buffer_budget,
        settings.allowed_algorithms,
    )
