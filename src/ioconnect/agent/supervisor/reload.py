"""What a new configuration means for the tunnels that run: which come, go, start anew, and which are left alone.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ioconnect.config.configuration import AgentSettings, Config, Tunnel


@dataclass(frozen=True, slots=True)
class Successor:
    """What a tunnel is to become."""

    tunnel: Tunnel
    settings: AgentSettings


@dataclass(frozen=True, slots=True)
class Changes:
    """The way from one configuration to the next; printed, it is what the log says."""

    added: tuple[Successor, ...]
    changed: tuple[Successor, ...]
    removed: tuple[str, ...]
    unchanged: tuple[str, ...]

    def __str__(self) -> str:
        groups = (
            ("added", [successor.tunnel.name for successor in self.added]),
            ("changed", [successor.tunnel.name for successor in self.changed]),
            ("removed", list(self.removed)),
        )
        return "; ".join(f"{what} {', '.join(names)}" for what, names in groups if names) or "nothing changed"


def compare(old: Config, new: Config) -> Changes:
    """Return the changes; an agent setting that a tunnel overrides does not concern it."""
    before = {tunnel.name: _concerns(tunnel, old.agent) for tunnel in old.tunnels}
    after = {tunnel.name: _concerns(tunnel, new.agent) for tunnel in new.tunnels}
    successors = {tunnel.name: Successor(tunnel, new.agent) for tunnel in new.tunnels}
    return Changes(
        added=tuple(successors[name] for name in after if name not in before),
        changed=tuple(successors[name] for name in after if name in before and after[name] != before[name]),
        removed=tuple(name for name in before if name not in after),
        unchanged=tuple(name for name in after if after[name] == before.get(name)),
    )


def _concerns(tunnel: Tunnel, settings: AgentSettings) -> object:
    """Return everything that a session of this tunnel is made of."""
    return (
        tunnel,
        tunnel.identity or settings.identity,
        settings.keepalive_interval,
        settings.keepalive_count_max,
        settings.buffer_budget,
    )
