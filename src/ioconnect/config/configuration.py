"""The configuration: parsed from TOML into frozen records, or refused with every fault in it, and written back."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ioconnect.config import addresses
from ioconnect.config.addresses import HostPort
from ioconnect.config.files import make_folder, preserved_mode, read_regular, write_atomically
from ioconnect.config.toml_tables import Table, integer, seconds, shown, text
from ioconnect.errors import ConfigInvalid, UsageFault
from ioconnect.escape import escaped

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

SCHEMA = 1
DEFAULT_SSH_PORT = 50683
DEFAULT_SSH_USER = "sshtunnel"
_MIB = 1 << 20
_MAX_FILE = _MIB
# Names become arguments, so none may look like an option; and perhaps file names, so none is "." or "..".
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_NAME_RULE = "a tunnel's name is 1 to 64 of A-Z a-z 0-9 _ . - and begins with a letter, digit or _"


@dataclass(frozen=True, slots=True)
class Tunnel:
    """One remote forward: the port `endpoint.port` on the jumphost `endpoint.host` is forwarded to `target`.

    `proxy` is "" (from the environment, else none), a URL, or "none"; `identity` overrides the agent's.
    """

    name: str
    endpoint: HostPort
    target: HostPort
    ssh_port: int = DEFAULT_SSH_PORT
    ssh_user: str = DEFAULT_SSH_USER
    max_connections: int = 256
    proxy: str = field(default="", repr=False)  # may hold a password
    identity: Path | None = None

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
    that is in flight towards their databases.
    """

    identity: Path | None = None
    keepalive_interval: float = 10.0
    keepalive_count_max: int = 1
    buffer_budget: int = 64 * _MIB


@dataclass(frozen=True, slots=True)
class Config:
    """A validated configuration."""

    agent: AgentSettings = AgentSettings()
    tunnels: tuple[Tunnel, ...] = ()


def check_name(name: str) -> str:
    """Return the tunnel name if it is valid. Raises UsageFault."""
    if not _NAME.fullmatch(name):
        raise UsageFault(f"{addresses.quoted(name)}: {_NAME_RULE}", hint="Choose another name, like orders.")
    return name


def with_tunnel(config: Config, tunnel: Tunnel, *, replace: bool) -> Config:
    """Return `config` with `tunnel` added; with `replace` it replaces the tunnel of that name.

    Raises UsageFault if the name exists and `replace` is false, or if another tunnel has the same endpoint.
    """
    check_name(tunnel.name)
    names = [known.name for known in config.tunnels]
    if tunnel.name in names and not replace:
        raise UsageFault(
            f"the tunnel {tunnel.name} exists already", hint="Use --force to change it, or another name."
        )
    for known in config.tunnels:
        if known.name != tunnel.name and known.endpoint.normalized == tunnel.endpoint.normalized:
            raise UsageFault(
                f"the tunnel {known.name} has the endpoint {tunnel.endpoint} already",
                hint="Two tunnels would fight for one port; change that tunnel, or check the Tunnel Endpoint.",
            )
    if tunnel.name in names:
        changed = tuple(tunnel if known.name == tunnel.name else known for known in config.tunnels)
    else:
        changed = (*config.tunnels, tunnel)
    return Config(agent=config.agent, tunnels=changed)


def parse(values: Mapping[str, object], *, source: str, folder: Path | None = None) -> Config:
    """Return the Config of a TOML document; a relative `identity` is relative to `folder`, `~` is expanded.

    Raises ConfigInvalid with every fault, one line each, beginning with `source`.
    """
    top = Table("", values, [])
    top.require("schema", _schema, f"the file's format: schema = {SCHEMA}")
    identity = _identity_in(folder)
    agent = _agent(top.table("agent"), identity)
    tunnels_table = top.table("tunnels")
    tunnels = [_tunnel(tunnels_table, name, identity) for name in tunnels_table.values]
    top.reject_unknown_keys()
    _refuse_shared_endpoints(tunnels, tunnels_table)
    if top.faults:
        lines = [f"{source}: {fault.path}: {fault.message}" for fault in top.faults]
        raise ConfigInvalid("\n".join(lines), hint=f"Mend {source}.", faults=tuple(top.faults))
    return Config(agent=agent, tunnels=tuple(tunnel for tunnel in tunnels if tunnel is not None))


def _schema(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value != SCHEMA:
        raise ValueError(f"must be {SCHEMA}, the only format that this version reads, not {shown(value)}")
    return value


def _agent(table: Table, identity: Callable[[object], Path]) -> AgentSettings:
    defaults = AgentSettings()
    mebibytes = table.take("buffer_mib", integer(1, 4096), None)
    settings = AgentSettings(
        identity=table.take("identity", identity, None),
        # Below a hundredth the loop would spin; above a day, poll(2)'s milliseconds come near their limit.
        keepalive_interval=table.take("keepalive_interval", seconds(0.01, 86400), defaults.keepalive_interval),
        keepalive_count_max=table.take("keepalive_count_max", integer(1, 1000000), defaults.keepalive_count_max),
        buffer_budget=defaults.buffer_budget if mebibytes is None else mebibytes * _MIB,
    )
    table.reject_unknown_keys()
    return settings


def _tunnel(tunnels_table: Table, name: str, identity: Callable[[object], Path]) -> Tunnel | None:
    if not _NAME.fullmatch(name):
        tunnels_table.fault(name, _NAME_RULE)
    table = tunnels_table.table(name)
    if not isinstance(tunnels_table.values[name], dict):
        return None
    endpoint = table.require("endpoint", _text_check(addresses.host_port), "the Tunnel Endpoint that the UI shows")
    target = table.require(
        "target", _text_check(addresses.host_port), "the database's host:port, as seen from this machine"
    )
    options = {
        "ssh_port": table.take("ssh_port", integer(1, addresses.MAX_PORT), DEFAULT_SSH_PORT),
        "max_connections": table.take("max_connections", integer(1, addresses.MAX_PORT), 256),
    }
    ssh_user = table.take("ssh_user", _text_check(addresses.user), DEFAULT_SSH_USER)
    proxy = table.take("proxy", _proxy, "")
    own_identity = table.take("identity", identity, None)
    table.reject_unknown_keys()
    if endpoint is None or target is None:
        return None
    return Tunnel(name, endpoint, target, ssh_user=ssh_user, proxy=proxy, identity=own_identity, **options)


def _text_check(check: Callable[[str], T]) -> Callable[[object], T]:
    """Return a check of any value that requires a string and applies `check`."""
    return lambda value: check(text(value))


def _proxy(value: object) -> str:  # not with `text`, whose message contains the value: a URL may hold a password
    if not isinstance(value, str):
        raise ValueError("must be text in quotes")  # noqa: TRY004  one type for every refusal
    return addresses.proxy(value)


def _identity_in(folder: Path | None) -> Callable[[object], Path]:
    def check(value: object) -> Path:
        written = text(value)
        if not written or not written.isprintable():
            raise ValueError(f"must be a file's path, not {addresses.quoted(written)}")
        expanded = os.path.expanduser(written)  # noqa: PTH111  pathlib's raises where this leaves the ~ to us
        if expanded.startswith("~"):
            raise ValueError(f"no home folder is known for {addresses.quoted(written)}")
        return Path(expanded) if folder is None else folder / expanded

    return check


def _refuse_shared_endpoints(tunnels: list[Tunnel | None], tunnels_table: Table) -> None:
    first: dict[HostPort, str] = {}
    for tunnel in tunnels:
        if tunnel is None:
            continue
        owner = first.setdefault(tunnel.endpoint.normalized, tunnel.name)
        if owner != tunnel.name:
            tunnels_table.fault(
                f"{tunnel.name}.endpoint", f"the same as {owner}'s; two tunnels would fight for one port"
            )


def load(path: Path, *, or_empty: bool = False) -> Config:
    """Read the file; with `or_empty` a missing file is an empty configuration.

    Raises ConfigInvalid: the file is missing, unreadable or not TOML, or `parse` finds faults.
    """
    try:
        content, _ = read_regular(path, limit=_MAX_FILE)
        values = tomllib.loads(content.decode("utf-8"))
    except FileNotFoundError as error:
        if or_empty:
            return Config()
        hint = "Run `ioconnect register` to set up a tunnel."
        raise ConfigInvalid(f"there is no configuration at {path}", hint=hint) from error
    except OSError as error:
        hint = "Check the file's owner and permissions."
        raise ConfigInvalid(f"cannot read {path}: {error.strerror}", hint=hint) from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigInvalid(f"{path}: line {line} is not UTF-8", hint="Save the file as UTF-8 text.") from error
    except (ValueError, RecursionError) as error:  # RecursionError: brackets nested a thousand deep
        raise ConfigInvalid(f"{path}: not TOML: {escaped(str(error))}", hint="Mend that line.") from error
    return parse(values, source=str(path), folder=path.absolute().parent)


def save(path: Path, config: Config) -> None:
    """Write `config` atomically. Raises CannotCreate.

    The mode is 0600; without a password in it, the file keeps group and world read permission.
    """
    import tomli_w  # noqa: PLC0415  only commands that write need it

    make_folder(path.parent)
    secret = any(addresses.has_password(tunnel.proxy) for tunnel in config.tunnels)
    write_atomically(path, tomli_w.dumps(document(config)).encode(), mode=0o600 if secret else preserved_mode(path))


def document(config: Config) -> dict[str, object]:
    """Return the TOML document that `save` writes, without settings that have their default.

    `parse` returns an equal `config` for it, but for `buffer_budget`, which is written in whole MiB (at least one).
    """
    defaults = AgentSettings()
    agent: dict[str, object] = {}
    if config.agent.identity is not None:
        agent["identity"] = str(config.agent.identity)
    if config.agent.keepalive_interval != defaults.keepalive_interval:
        agent["keepalive_interval"] = config.agent.keepalive_interval
    if config.agent.keepalive_count_max != defaults.keepalive_count_max:
        agent["keepalive_count_max"] = config.agent.keepalive_count_max
    if config.agent.buffer_budget != defaults.buffer_budget:
        agent["buffer_mib"] = max(1, config.agent.buffer_budget // _MIB)
    root: dict[str, object] = {"schema": SCHEMA}
    if agent:
        root["agent"] = agent
    if config.tunnels:
        root["tunnels"] = {tunnel.name: _tunnel_table(tunnel) for tunnel in config.tunnels}
    return root


def _tunnel_table(tunnel: Tunnel) -> dict[str, object]:
    table: dict[str, object] = {"endpoint": str(tunnel.endpoint), "target": str(tunnel.target)}
    for spec in fields(Tunnel):
        value = getattr(tunnel, spec.name)
        if spec.name in ("name", "endpoint", "target") or value == spec.default:
            continue
        table[spec.name] = str(value) if isinstance(value, Path) else value
    return table
