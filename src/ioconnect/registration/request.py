"""What the options of a command say about a tunnel: checked, completed by a pasted line, made into a tunnel."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ioconnect.config import addresses, configuration, pasted
from ioconnect.config.paths import absolute
from ioconnect.errors import ConfigInvalid, UsageFault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ioconnect.config.addresses import HostPort, Target
    from ioconnect.config.configuration import Config, Tunnel
    from ioconnect.config.pasted import Pasted

ENDPOINT_EXAMPLE = "virginia-tunnel.flydata.app:58115"
TARGET_EXAMPLE = "localhost:3306"


@dataclass(frozen=True, slots=True)
class Request:
    """A tunnel as texts describe it; None is left open. The other texts win over what `paste` says."""

    endpoint: str | None = None
    target: str | None = None
    paste: str | None = None
    ssh_port: int | None = None
    ssh_user: str | None = None
    proxy: str | None = None


@dataclass(frozen=True, slots=True)
class PartialTunnel:
    """A request that was checked, and may still lack its two addresses.

    `written_key` is the private key that a pasted line names; `ignored` are the line's options that are not followed.
    """

    endpoint: HostPort | None
    target: Target | None
    ssh_port: int | None
    ssh_user: str | None
    proxy: str
    written_key: str | None = None
    ignored: tuple[str, ...] = ()

    @property
    def key(self) -> Path | None:
        """The key file that a pasted line names, if it is on this machine."""
        if self.written_key is None:
            return None
        path = absolute(self.written_key)
        return path if os.path.isfile(path) else None  # noqa: PTH113  pathlib's raises where we may not look

    def completed_by(self, line: Pasted) -> PartialTunnel:
        """Return this with what a pasted line adds; what was said already stays."""
        return replace(
            self,
            endpoint=self.endpoint or line.endpoint,
            target=self.target or line.target,
            ssh_port=self.ssh_port or line.ssh_port,
            ssh_user=self.ssh_user or line.ssh_user,
            written_key=self.written_key or line.identity,
            ignored=self.ignored + line.ignored,
        )

    def tunnel(self, name: str, own_key: Path) -> Tunnel:
        """Return the tunnel; both addresses must be there. Its identity is None if it is `own_key`."""
        assert self.endpoint is not None
        assert self.target is not None
        key = self.key
        return configuration.Tunnel(
            name,
            self.endpoint,
            self.target,
            ssh_port=self.ssh_port or configuration.DEFAULT_SSH_PORT,
            ssh_user=self.ssh_user or configuration.DEFAULT_SSH_USER,
            proxy=self.proxy,
            identity=None if key == own_key else key,
        )


def check(request: Request, environ: Mapping[str, str]) -> PartialTunnel:
    """Check every text of the request. Raises UsageFault."""
    partial = PartialTunnel(
        endpoint=None if request.endpoint is None else addresses.parse_host_port(request.endpoint, path="--endpoint"),
        target=None if request.target is None else addresses.parse_target(request.target, path="--to"),
        ssh_port=request.ssh_port,
        ssh_user=None if request.ssh_user is None else _checked(addresses.user, "--ssh-user", request.ssh_user),
        proxy="" if request.proxy is None else _checked(addresses.proxy, "--proxy", request.proxy),
    )
    return partial if request.paste is None else partial.completed_by(pasted.parse(request.paste, environ=environ))


def warn_of_visible_password(proxy: str | None, config: Path, warn: Callable[[UsageFault], None]) -> None:
    """Warn of a password in `--proxy`: other accounts see the command line while the command runs."""
    try:
        found = proxy is not None and addresses.has_password(proxy)
    except ValueError:
        found = "@" in (proxy or "")
    if found:
        warn(
            UsageFault(
                "the password in --proxy was visible to every account of this machine (ps), and stays in the "
                "shell's history",
                hint=f"Change it at the proxy, and write the new one into {config} (mode 0600): proxy = … for the "
                "tunnel.",
            )
        )


def with_tunnel(config: Config, tunnel: Tunnel, *, force: bool) -> Config:
    """Return the configuration with the tunnel, unchanged if it is there like this.

    Raises UsageFault if another one has its name, unless `force`; ConfigInvalid if another one has its endpoint.
    """
    if tunnel in config.tunnels:
        return config
    for other in config.tunnels:
        if other.name != tunnel.name and other.endpoint.normalized == tunnel.endpoint.normalized:
            raise ConfigInvalid(
                f"the tunnel {other.name} has the endpoint {tunnel.endpoint} already",
                hint="Two tunnels would fight for one port: change that one, or check the Tunnel Endpoint.",
            )
    return configuration.with_tunnel(config, tunnel, replace=force)


def _checked(check: Callable[[str], str], option: str, text: str) -> str:
    try:
        return check(text)
    except ValueError as error:
        raise UsageFault(f"{option}: {error}") from None
