"""Parses TOML documents into the records of `settings`, or refuses them with every fault.

Pure, but for `~` in a path, which is expanded.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ioconnect.config import addresses
from ioconnect.config.crypto import allowed_algorithms
from ioconnect.config.settings import (
    DEFAULT_SSH_PORT,
    DEFAULT_SSH_USER,
    MIB,
    NAME,
    NAME_RULE,
    AgentSettings,
    Config,
    Tunnel,
)
from ioconnect.config.toml_tables import Table, boolean, integer, seconds, shown, text
from ioconnect.errors import ConfigInvalid
from ioconnect.escape import escaped_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ioconnect.config.addresses import HostPort

T = TypeVar("T")

SCHEMA = 1


def parse(values: Mapping[str, object], *, source: str, folder: Path | None = None) -> Config:
    """Return the Config of a TOML document; a relative `identity` is relative to `folder`, `~` is expanded.

    Raises ConfigInvalid with every fault, one line each, beginning with `source`.
    """
    top = Table("", values, [])
    top.require("schema", _schema, f"the file's format: schema = {SCHEMA}")
    identity = _identity_in(folder)
    agent = _agent(top.table("agent"), top.table("crypto"), identity)
    tunnels_table = top.table("tunnels")
    tunnels = [_tunnel(tunnels_table, name, identity) for name in tunnels_table.values]
    top.reject_unknown_keys()
    _refuse_shared_endpoints(tunnels, tunnels_table)
    _raise_faults(top, source)
    return Config(agent=agent, tunnels=tuple(tunnel for tunnel in tunnels if tunnel is not None))


def parse_tunnels(
    values: Mapping[str, object], *, source: str, folder: Path, known: Sequence[Tunnel]
) -> tuple[Tunnel, ...]:
    """Return the tunnels of a document that holds nothing else, a file of config.d; `known` are those of other files.

    Raises ConfigInvalid with every fault, as `parse`.
    """
    top = Table("", values, [])
    top.take("schema", _schema, None)
    if "agent" in values:
        top.take("agent", lambda _value: None, None)
        top.fault("agent", "a file of config.d holds tunnels only; the agent's settings belong in the main file")
    tunnels_table = top.table("tunnels")
    tunnels = [_tunnel(tunnels_table, name, _identity_in(folder)) for name in tunnels_table.values]
    top.reject_unknown_keys()
    files = {each.name: escaped_path(each.file) if each.file else "the main file" for each in known}
    for name in tunnels_table.values:
        if name in files:
            tunnels_table.fault(name, f"a tunnel of this name is in {files[name]} already")
    others = [tunnel for tunnel in known if tunnel.name not in tunnels_table.values]
    _refuse_shared_endpoints([*others, *tunnels], tunnels_table)
    _raise_faults(top, source)
    return tuple(tunnel for tunnel in tunnels if tunnel is not None)


def _raise_faults(top: Table, source: str) -> None:
    if top.faults:
        lines = [f"{source}: {fault.path}: {fault.message}" for fault in top.faults]
        raise ConfigInvalid("\n".join(lines), hint=f"Mend {source}.", faults=tuple(top.faults))


def _schema(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value != SCHEMA:
        raise ValueError(f"must be {SCHEMA}, the only format that this version reads, not {shown(value)}")
    return value


def _agent(table: Table, crypto: Table, identity: Callable[[object], Path]) -> AgentSettings:
    defaults = AgentSettings()
    mebibytes = table.take("buffer_mib", integer(1, 4096), None)
    settings = AgentSettings(
        identity=table.take("identity", identity, None),
        # Below a hundredth the loop would spin; above a day, poll(2)'s milliseconds come near their limit.
        keepalive_interval=table.take("keepalive_interval", seconds(0.01, 86400), defaults.keepalive_interval),
        keepalive_count_max=table.take("keepalive_count_max", integer(1, 1000000), defaults.keepalive_count_max),
        buffer_budget=defaults.buffer_budget if mebibytes is None else mebibytes * MIB,
        allowed_algorithms=crypto.take("allow", allowed_algorithms, ()),
    )
    table.reject_unknown_keys()
    crypto.reject_unknown_keys()
    return settings


def _tunnel(tunnels_table: Table, name: str, identity: Callable[[object], Path]) -> Tunnel | None:
    if not NAME.fullmatch(name):
        tunnels_table.fault(name, NAME_RULE)
    table = tunnels_table.table(name)
    if not isinstance(tunnels_table.values[name], dict):
        return None
    endpoint = table.require("endpoint", _text_check(addresses.host_port), "the Tunnel Endpoint that the UI shows")
    target = table.require(
        "target", _text_check(addresses.target), "the database's host:port, as seen from this machine, or unix:/path"
    )
    options: dict[str, Any] = {
        "ssh_port": table.take("ssh_port", integer(1, addresses.MAX_PORT), DEFAULT_SSH_PORT),
        "max_connections": table.take("max_connections", integer(1, addresses.MAX_PORT), 256),
        "bind_address": table.take("bind_address", _text_check(addresses.own_address), ""),
        "standby": table.take("standby", boolean, False),
        "enabled": table.take("enabled", boolean, True),
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


def _refuse_shared_endpoints(tunnels: Iterable[Tunnel | None], tunnels_table: Table) -> None:
    first: dict[HostPort, str] = {}
    for tunnel in tunnels:
        if tunnel is None:
            continue
        owner = first.setdefault(tunnel.endpoint.normalized, tunnel.name)
        if owner != tunnel.name:
            tunnels_table.fault(
                f"{tunnel.name}.endpoint", f"the same as {owner}'s; two tunnels would fight for one port"
            )
