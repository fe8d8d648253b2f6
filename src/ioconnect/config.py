"""The configuration: TOML → frozen records, or every fault in it at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003  dataclasses resolve it at run time

DEFAULT_SSH_PORT = 50683
DEFAULT_SSH_USER = "sshtunnel"


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host name or address and a TCP port (1 to 65535); IPv6 addresses are held without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        """`host:port`, with an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Tunnel:
    """One reverse forward: the port `endpoint.port` on the jumphost `endpoint.host` leads to `target`.

    `proxy` is "" (none, or what the environment says), a URL, or "none"; `identity` overrides the agent's.
    """

    name: str
    endpoint: HostPort
    target: HostPort
    ssh_port: int = DEFAULT_SSH_PORT
    ssh_user: str = DEFAULT_SSH_USER
    max_connections: int = 256
    proxy: str = ""
    identity: Path | None = None

    @property
    def jumphost(self) -> HostPort:
        """Where its SSH server listens."""
        return HostPort(self.endpoint.host, self.ssh_port)

    @property
    def listen_port(self) -> int:
        """The port allocated to this tunnel on the jumphost."""
        return self.endpoint.port


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """What holds for every tunnel.

    `keepalive_interval` is in seconds (ssh_config ServerAliveInterval), `keepalive_count_max` counts unanswered
    probes (ServerAliveCountMax), `buffer_budget` bounds in bytes what all connections of one tunnel may have in
    flight towards their databases.
    """

    identity: Path | None = None
    keepalive_interval: float = 10.0
    keepalive_count_max: int = 1
    buffer_budget: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration that has been checked: nobody re-checks it."""

    agent: AgentSettings = AgentSettings()
    tunnels: tuple[Tunnel, ...] = ()
