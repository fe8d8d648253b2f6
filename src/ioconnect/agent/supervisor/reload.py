"""The difference between two configurations: which tunnels are added, changed, removed and unchanged.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ioconnect.config.configuration import AgentSettings, Config, Tunnel


@dataclass(frozen=True, slots=True)
class TunnelConfig:
    """The new configuration of a tunnel."""

    tunnel: Tunnel
    settings: AgentSettings


@dataclass(frozen=True, slots=True)
class Changes:
    """The difference between two configurations; its str is the log line of a reload."""

    added: tuple[TunnelConfig, ...]
    changed: tuple[TunnelConfig, ...]
    removed: tuple[str, ...]
    unchanged: tuple[str, ...]

    def __str__(self) -> str:
        groups = (
            ("added", [new.tunnel.name for new in self.added]),
            ("changed", [new.tunnel.name for new in self.changed]),
            ("removed", list(self.removed)),
        )
        return "; ".join(f"{what} {', '.join(names)}" for what, names in groups if names) or "nothing changed"


def compare(old: Config, new: Config) -> Changes:
    """Return the changes; a changed agent setting that a tunnel overrides does not change that tunnel."""
    before = {tunnel.name: _effective(tunnel, old.agent) for tunnel in old.tunnels}
    after = {tunnel.name: _effective(tunnel, new.agent) for tunnel in new.tunnels}
    configs = {tunnel.name: TunnelConfig(tunnel, new.agent) for tunnel in new.tunnels}
    return Changes(
        added=tuple(configs[name] for name in after if name not in before),
        changed=tuple(configs[name] for name in after if name in before and after[name] != before[name]),
        removed=tuple(name for name in before if name not in after),
        unchanged=tuple(name for name in after if after[name] == before.get(name)),
    )


def _effective(tunnel: Tunnel, settings: AgentSettings) -> object:
    """Return all settings that a session of this tunnel uses."""
    return (
        tunnel,
        tunnel.identity or settings.identity,
        settings.keepalive_interval,
        settings.keepalive_count_max,
        settings.buffer_budget,
    )
