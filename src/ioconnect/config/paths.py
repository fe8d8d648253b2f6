"""Where everything lives; the only room that asks the environment and platformdirs about it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

APPLICATION = "ioconnect"
CREDENTIAL = "ssh-key"  # what systemd's LoadCredential= calls our private key
SITE_STATUS = Path("/run", APPLICATION, "status.json")  # what the system service's agent shows to everybody
_IDENTITY = "id_ed25519"


@dataclass(frozen=True, slots=True)
class Paths:
    """Every file and folder of one installation, absolute.

    `credential` says that the identity was handed over by systemd, which guards it by other means than its mode.
    """

    config: Path
    identity: Path
    known_hosts: Path
    state: Path  # folder
    log: Path  # the daemon's log file
    credential: bool = False

    @property
    def public_key(self) -> Path:
        """The public half beside the identity."""
        return self.identity.with_name(self.identity.name + ".pub")

    @property
    def status(self) -> Path:
        """The snapshot that the agent writes."""
        return self.state / "status.json"

    @property
    def setup_draft(self) -> Path:
        """What an interrupted `setup` keeps."""
        return self.state / "setup.json"

    @property
    def lock(self) -> Path:
        """Held by flock for the agent's life, never unlinked: held is what "running" means."""
        return self.state / "agent.lock"


def discover(environ: Mapping[str, str], *, config: Path | None = None) -> Paths:
    """Return the paths of this process; `config` is what `--config` said, before IOCONNECT_CONFIG.

    IOCONNECT_HOME holds everything; without it state and log are where systemd says (STATE_DIRECTORY, else
    RUNTIME_DIRECTORY; LOGS_DIRECTORY), else in root's site folders or the user's own. A configuration file that
    was named has its identity and pins beside it, unless there is an IOCONNECT_HOME. The private key in
    CREDENTIALS_DIRECTORY, if there is one, comes before all of these. Makes nothing.

    platformdirs reads the process's own environment (HOME, XDG_*), not `environ`.
    """
    home = environ.get("IOCONNECT_HOME")
    paths = under(_absolute(home)) if home else _by_systemd(site() if os.geteuid() == 0 else _own(), environ)
    named = config or environ.get("IOCONNECT_CONFIG")
    if named:
        file = _absolute(named)
        beside = paths.config.parent if home else file.parent
        paths = Paths(file, beside / _IDENTITY, beside / "known_hosts", paths.state, paths.log)
    return _with_credential(paths, environ)


def public_status(environ: Mapping[str, str]) -> Path | None:
    """Return where the agent shows its status to everybody: in the folder under /run that systemd gave it."""
    folder = _first(environ, "RUNTIME_DIRECTORY")
    return folder / SITE_STATUS.name if folder else None


def under(home: Path) -> Paths:
    """Return the paths of an installation that lives in one folder, as IOCONNECT_HOME makes it."""
    return _in_folders(home, home / "state", home / "log")


def site() -> Paths:
    """Return root's paths, which are also the system service's."""
    return _in_folders(
        Path("/etc", APPLICATION),
        Path("/var/lib", APPLICATION),
        Path("/var/log", APPLICATION),
    )


def _own() -> Paths:
    from platformdirs import PlatformDirs  # noqa: PLC0415  neither root nor IOCONNECT_HOME needs it

    folders = PlatformDirs(APPLICATION, appauthor=False)
    return _in_folders(folders.user_config_path, folders.user_state_path, folders.user_log_path)


def _in_folders(config: Path, state: Path, log: Path) -> Paths:
    return Paths(
        config=config / "config.toml",
        identity=config / _IDENTITY,
        known_hosts=config / "known_hosts",
        state=state,
        log=log / "ioconnect.log",
    )


def _by_systemd(paths: Paths, environ: Mapping[str, str]) -> Paths:
    state = _first(environ, "STATE_DIRECTORY") or _first(environ, "RUNTIME_DIRECTORY") or paths.state
    logs = _first(environ, "LOGS_DIRECTORY") or paths.log.parent
    return Paths(paths.config, paths.identity, paths.known_hosts, state, logs / paths.log.name)


def _with_credential(paths: Paths, environ: Mapping[str, str]) -> Paths:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder or not os.path.lexists(key := _absolute(folder) / CREDENTIAL):
        return paths
    return Paths(paths.config, key, paths.known_hosts, paths.state, paths.log, credential=True)


def _first(environ: Mapping[str, str], name: str) -> Path | None:
    """Return the first of the folders in a variable of systemd (systemd.exec(5): separated by ":")."""
    first = environ.get(name, "").split(":")[0]
    return _absolute(first) if first else None


def _absolute(path: str | Path) -> Path:
    expanded = os.path.expanduser(path)  # noqa: PTH111  pathlib's raises if there is no home
    return Path(expanded).absolute()
