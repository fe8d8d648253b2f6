"""The configuration: read from config.toml and the files of config.d, changed, and written back."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.config import addresses
from ioconnect.config.addresses import HostPort
from ioconnect.config.parsing import SCHEMA, parse, parse_tunnels
from ioconnect.config.settings import (
    DEFAULT_SSH_PORT,
    DEFAULT_SSH_USER,
    MIB,
    AgentSettings,
    Config,
    InvalidFile,
    Tunnel,
    check_name,
)
from ioconnect.custody.descriptors import names_in
from ioconnect.custody.entries import Untrusted
from ioconnect.custody.files import (
    Stamps,
    hint_to_read,
    make_folder,
    preserved_mode,
    read_regular,
    stamp,
    write_atomically,
)
from ioconnect.custody.folder_lock import locked
from ioconnect.errors import ConfigInvalid, UsageFault
from ioconnect.escape import escaped, escaped_path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "DEFAULT_SSH_PORT",
    "DEFAULT_SSH_USER",
    "AgentSettings",
    "Config",
    "HostPort",
    "InvalidFile",
    "Tunnel",
    "change",
    "check_name",
    "document",
    "load",
    "load_all_valid",
    "parse",
    "save",
    "stamps",
    "tunnels_folder",
    "with_tunnel",
]

_MAX_FILE = MIB
MAX_LINE = 1 << 14  # characters
MAX_DOTS = 128  # in a line; a host name has 126 (RFC 1035). tomllib's time is quadratic in those of a dotted key
MAX_FILES = 1000  # in config.d


def with_tunnel(config: Config, tunnel: Tunnel, *, replace: bool) -> Config:
    """Return `config` with `tunnel` added; with `replace` it replaces the tunnel of that name.

    Raises UsageFault if the name exists and `replace` is false or it is in a file of config.d, or if another tunnel
    has the same endpoint.
    """
    check_name(tunnel.name)
    _refuse_other_file(config, tunnel.name)
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
    return dataclasses.replace(config, tunnels=changed)


def _refuse_other_file(config: Config, name: str) -> None:
    files = [tunnel.file for tunnel in config.tunnels if tunnel.name == name]
    files += [invalid.path for invalid in config.invalid if name in invalid.names]
    if files and files[0] is not None:
        raise UsageFault(f"the tunnel {name} is in {escaped_path(files[0])}", hint="Change it in that file.")


def load(path: Path, *, or_empty: bool = False, trusted: frozenset[int] | None = None) -> Config:
    """Read the file and those of config.d beside it; with `or_empty` a missing file is an empty configuration.

    A file of config.d with faults is left out and named in `Config.invalid`. `trusted` is as for `read_regular`.
    Raises ConfigInvalid: the main file is missing, unreadable or not TOML, or `parse` finds faults; Untrusted, which
    is one.
    """
    try:
        config = parse(_read_toml(path, trusted), source=str(path), folder=path.absolute().parent)
    except FileNotFoundError as error:
        if not or_empty:
            hint = "Run `ioconnect register` to set up a tunnel."
            raise ConfigInvalid(f"there is no configuration at {path}", hint=hint) from error
        config = Config()
    return _with_tunnel_files(config, path, trusted)


def load_all_valid(path: Path, *, trusted: frozenset[int] | None = None) -> Config:
    """Read the configuration as `load` does; a file of config.d with faults raises ConfigInvalid too."""
    config = load(path, trusted=trusted)
    if config.invalid:
        raise ConfigInvalid(
            "\n".join(file.message for file in config.invalid),
            hint=config.invalid[0].hint,
            faults=tuple(fault for file in config.invalid for fault in file.faults),
        )
    return config


def stamps(path: Path) -> Stamps:
    """Return the stamps of all files of this configuration; they differ once one is changed, added or removed."""
    folder = tunnels_folder(path)
    try:
        files = [path, folder, *_tunnel_files(folder)]
    except (OSError, Untrusted):
        files = [path, folder]
    return {file: stamp(file) for file in files}


def tunnels_folder(path: Path) -> Path:
    """Return the folder of further tunnels: config.d beside config.toml, NAME.d beside a NAME.toml."""
    return path.absolute().with_suffix(".d")


def _with_tunnel_files(config: Config, path: Path, trusted: frozenset[int] | None) -> Config:
    folder = tunnels_folder(path)
    tunnels, invalid = list(config.tunnels), []
    try:
        files = _tunnel_files(folder, trusted)
    except (FileNotFoundError, NotADirectoryError):
        return config
    except Untrusted as fault:
        return dataclasses.replace(config, invalid=(InvalidFile(folder, fault.message, fault.hint),))
    except OSError as error:
        message, hint = f"cannot read {folder}: {error.strerror}", "Check the folder's owner and permissions."
        return dataclasses.replace(config, invalid=(InvalidFile(folder, message, hint),))
    for file in files[:MAX_FILES]:
        names: tuple[str, ...] = ()
        try:
            values = _read_toml(file, trusted)
            tables = values.get("tunnels")
            names = tuple(tables) if isinstance(tables, dict) else ()
            found = parse_tunnels(values, source=escaped_path(file), folder=path.absolute().parent, known=tunnels)
        except FileNotFoundError:  # removed meanwhile, or a link that leads nowhere
            continue
        except ConfigInvalid as fault:
            invalid.append(InvalidFile(file, fault.message, fault.hint, fault.faults, names))
        else:
            tunnels += [dataclasses.replace(tunnel, file=file) for tunnel in found]
    too_many = (f"is left out: more than {MAX_FILES} files are in its folder", "Put several tunnels into one file.")
    invalid += [InvalidFile(file, f"{escaped_path(file)} {too_many[0]}", too_many[1]) for file in files[MAX_FILES:]]
    return dataclasses.replace(config, tunnels=tuple(tunnels), invalid=tuple(invalid))


def _tunnel_files(folder: Path, trusted: frozenset[int] | None = None) -> list[Path]:
    """Return the files of config.d in their order. Raises OSError, Untrusted."""
    names = sorted(name for name in names_in(folder, trusted=trusted) if name[0] != ".")
    return [folder / name for name in names if Path(name).suffix == ".toml"]


def _read_toml(path: Path, trusted: frozenset[int] | None) -> dict[str, object]:
    """Return the file's document. Raises FileNotFoundError, and ConfigInvalid if it cannot be read or is not TOML."""
    shown = escaped_path(path)
    try:
        content, _ = read_regular(path, limit=_MAX_FILE, trusted=trusted)
        text = content.decode("utf-8")
        _check_lines(text)
        return dict(tomllib.loads(text))
    except FileNotFoundError:
        raise
    except OSError as error:
        bound = (
            f"A file of the configuration has at most {_MAX_FILE >> 20} MiB: put some tunnels into files of config.d."
        )
        hint = hint_to_read(error, too_large=bound)
        raise ConfigInvalid(f"cannot read {shown}: {error.strerror}", hint=hint) from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigInvalid(f"{shown}: line {line} is not UTF-8", hint="Save the file as UTF-8 text.") from error
    except (ValueError, RecursionError) as error:  # RecursionError: brackets nested a thousand deep
        raise ConfigInvalid(f"{shown}: not TOML: {escaped(str(error))}", hint="Mend that line.") from error


def _check_lines(text: str) -> None:
    """Raise ValueError for a line that exceeds a limit; comments have none."""
    for number, line in enumerate(text.split("\n"), 1):
        if (len(line) > MAX_LINE or line.count(".") > MAX_DOTS) and not line.lstrip().startswith("#"):
            raise ValueError(f"line {number} has more than {MAX_LINE} characters or {MAX_DOTS} dots")


def change(path: Path, edit: Callable[[Config], Config]) -> Config:
    """Read the configuration, save what `edit` makes of it, and return that; nobody else changes it meanwhile.

    What `edit` returns unchanged is not written. Raises as `load` and `save`, SystemRefused, and what `edit` raises.
    """
    with locked(path):
        before = load(path, or_empty=True)
        after = edit(before)
        if after != before:
            save(path, after)
    return after


def save(path: Path, config: Config) -> None:
    """Write `config` atomically, without the tunnels of config.d. Raises CannotCreate.

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
        agent["buffer_mib"] = max(1, config.agent.buffer_budget // MIB)
    root: dict[str, object] = {"schema": SCHEMA}
    if agent:
        root["agent"] = agent
    if config.agent.allowed_algorithms:
        root["crypto"] = {"allow": list(config.agent.allowed_algorithms)}
    tunnels = {tunnel.name: _tunnel_table(tunnel) for tunnel in config.tunnels if tunnel.file is None}
    if tunnels:
        root["tunnels"] = tunnels
    return root


def _tunnel_table(tunnel: Tunnel) -> dict[str, object]:
    table: dict[str, object] = {"endpoint": str(tunnel.endpoint), "target": str(tunnel.target)}
    for spec in dataclasses.fields(Tunnel):
        value = getattr(tunnel, spec.name)
        if spec.name in ("name", "endpoint", "target", "file") or value == spec.default:
            continue
        table[spec.name] = str(value) if isinstance(value, Path) else value
    return table
