"""The records that the configuration is parsed into: the settings of the agent and of each tunnel.

Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003  dataclasses resolve it at run time

from ioconnect.config.addresses import HostPort, Target, quoted
from ioconnect.errors import ConfigFault, ConfigInvalid, UsageFault

MISSING_CREDENTIAL = "missing"  # instead of an identity that is missing, by the unit's SetCredential=; no key

DEFAULT_SSH_PORT = 50683
DEFAULT_SSH_USER = "sshtunnel"
MIB = 1 << 20
# Names become arguments, so none may look like an option; and perhaps file names, so none is "." or "..".
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
NAME_RULE = "a tunnel's name is 1 to 64 of A-Z a-z 0-9 _ . - and begins with a letter, digit or _"


@dataclass(frozen=True, slots=True)
class Tunnel:
    """One remote forward: the port `endpoint.port` on the jumphost `endpoint.host` is forwarded to `target`.

    `proxy` is "" (from the environment, else none), a URL, or "none"; `identity` overrides the agent's.
    `bind_address` is an IP address of this machine to connect from, "" for the one that the route has. `standby`: an
    agent on another machine may hold the port, and that is well. `file` is the one in config.d that defines the
    tunnel; None for the main file.
    """

    name: str
    endpoint: HostPort
    target: Target
    ssh_port: int = DEFAULT_SSH_PORT
    ssh_user: str = DEFAULT_SSH_USER
    max_connections: int = 256
    proxy: str = field(default="", repr=False)  # may hold a password
    identity: Path | None = None
    bind_address: str = ""
    standby: bool = False
    enabled: bool = True
    file: Path | None = field(default=None, compare=False, repr=False)

    @property
    def jumphost(self) -> HostPort:
        """The address of the jumphost's SSH server."""
        return HostPort(self.endpoint.host, self.ssh_port)

    @property
    def listen_port(self) -> int:
        """The port allocated to this tunnel on the jumphost."""
        return self.endpoint.port


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """The settings of all tunnels.

    `keepalive_interval` is in seconds (ssh_config ServerAliveInterval), `keepalive_count_max` counts unanswered
    probes (ServerAliveCountMax), `buffer_budget` is the limit in bytes for data of all connections of one tunnel
    that is in flight towards their databases, `allowed_algorithms` are offered to jumphosts beside the default ones.
    """

    identity: Path | None = None
    keepalive_interval: float = 10.0
    keepalive_count_max: int = 1
    buffer_budget: int = 64 * MIB
    allowed_algorithms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InvalidFile:
    """A file in config.d with faults, or config.d itself: none of its tunnels can run.

    `names` holds those that can be read in it.
    """

    path: Path
    message: str
    hint: str
    faults: tuple[ConfigFault, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def fault(self) -> ConfigInvalid:
        """The fault to raise where this file's tunnels are needed."""
        return ConfigInvalid(self.message, hint=self.hint, faults=self.faults)

    def leaves_out(self, tunnel: Tunnel) -> bool:
        """Whether the tunnel is in this file; or in any, if it is the folder."""
        return tunnel.file is not None and self.path in (tunnel.file, tunnel.file.parent)


@dataclass(frozen=True, slots=True)
class Config:
    """A validated configuration; `invalid` names the files in config.d that are left out of it."""

    agent: AgentSettings = AgentSettings()
    tunnels: tuple[Tunnel, ...] = ()
    invalid: tuple[InvalidFile, ...] = ()

    @property
    def enabled(self) -> tuple[Tunnel, ...]:
        """The tunnels that are to run."""
        return tuple(tunnel for tunnel in self.tunnels if tunnel.enabled)


def check_name(name: str) -> str:
    """Return the tunnel name if it is valid. Raises UsageFault."""
    if not NAME.fullmatch(name):
        raise UsageFault(f"{quoted(name)}: {NAME_RULE}", hint="Choose another name, like orders.")
    return name
