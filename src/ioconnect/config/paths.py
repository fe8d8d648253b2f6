"""The paths of an installation's files; the only module that reads them from the environment and platformdirs."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.config.settings import MISSING_CREDENTIAL

if TYPE_CHECKING:
    from collections.abc import Mapping

APPLICATION = "ioconnect"
CREDENTIAL = "ssh-key"  # the identity's name in systemd's LoadCredential=
# /run is Linux's; macOS and the BSDs have /var/run only.
SITE_STATUS = Path("/run" if sys.platform == "linux" else "/var/run", APPLICATION, "status.json")  # world-readable
_IDENTITY = "id_ed25519"
_SOCKET = "control.sock"


@dataclass(frozen=True, slots=True)
class Paths:
    """The files and folders of one installation, absolute.

    `credential`: the identity is a systemd credential, which is protected by other means than its mode.
    `account`: the uid of another account than root, whose agent root asks about and whose files it trusts for that.
    `control`: the control sockets. The agent binds each of them, a client tries them in this order.
    """

    config: Path
    identity: Path
    known_hosts: Path
    state: Path  # folder
    log: Path  # the daemon's log file
    credential: bool = False
    control: tuple[Path, ...] = ()
    account: int | None = None

    @property
    def public_key(self) -> Path:
        """The public key file beside the identity."""
        return self.identity.with_name(self.identity.name + ".pub")

    @property
    def status(self) -> Path:
        """The snapshot that the agent writes."""
        return self.state / "status.json"

    @property
    def setup_draft(self) -> Path:
        """The answers that an interrupted `setup` keeps."""
        return self.state / "setup.json"

    @property
    def lock(self) -> Path:
        """The lock file, locked by flock(2) while the agent runs, and never unlinked."""
        return self.state / "agent.lock"


def discover(environ: Mapping[str, str], *, config: Path | None = None) -> Paths:
    """Return the paths of this process; `config` is the value of `--config`, which overrides IOCONNECT_CONFIG.

    With IOCONNECT_HOME all files are in that folder. Without it, state and log are in systemd's folders
    (STATE_DIRECTORY, else RUNTIME_DIRECTORY; LOGS_DIRECTORY), else in the site folders for root and in the user's
    folders for others. Identity and pins are beside a configuration file that was named, unless IOCONNECT_HOME is
    set. A private key in CREDENTIALS_DIRECTORY takes precedence over all of these. Creates nothing.

    The control socket is in IOCONNECT_HOME/run, else in RUNTIME_DIRECTORY, else for root in /run/ioconnect (not on
    Linux: /var/run/ioconnect) and in XDG_RUNTIME_DIR for others; for these also in the state folder, as a log-out
    removes XDG_RUNTIME_DIR and a cron job has none.

    platformdirs reads the process's own environment (HOME, XDG_*), not `environ`. An account without a home folder
    (a number without a name, as in a container) has its folders below `/`.
    """
    home = environ.get("IOCONNECT_HOME")
    paths = (
        under(absolute(home))
        if home
        else _with_systemd_folders(site_paths() if os.geteuid() == 0 else _user(environ), environ)
    )
    named = config or environ.get("IOCONNECT_CONFIG")
    if named:
        file = absolute(named)
        folder = paths.config.parent if home else file.parent
        paths = replace(paths, config=file, identity=folder / _IDENTITY, known_hosts=folder / "known_hosts")
    return _with_credential(paths, environ)


def public_status(environ: Mapping[str, str]) -> Path | None:
    """Return the path of the world-readable snapshot, in systemd's RUNTIME_DIRECTORY; None without one."""
    folder = _first_folder(environ, "RUNTIME_DIRECTORY")
    return folder / SITE_STATUS.name if folder else None


def under(home: Path) -> Paths:
    """Return the paths of an installation in one folder, as with IOCONNECT_HOME."""
    return replace(_in_folders(home, home / "state", home / "log"), control=(home / "run" / _SOCKET,))


def site_paths() -> Paths:
    """Return the paths of root and of the system service."""
    found = _in_folders(Path("/etc", APPLICATION), Path("/var/lib", APPLICATION), Path("/var/log", APPLICATION))
    return replace(found, control=(SITE_STATUS.with_name(_SOCKET),))


def is_same(one: Path | str, other: Path | str) -> bool:
    """Say whether both paths lead to one file; False for a text that is no path."""
    try:
        return str(one) == str(other) or os.path.realpath(one) == os.path.realpath(other)
    except ValueError:  # a NUL or a lone surrogate
        return False


def _user(environ: Mapping[str, str]) -> Paths:
    from platformdirs import PlatformDirs  # noqa: PLC0415  neither root nor IOCONNECT_HOME needs it

    folders = PlatformDirs(APPLICATION, appauthor=False)
    try:
        found = _in_folders(folders.user_config_path, folders.user_state_path, folders.user_log_path)
    except RuntimeError:  # from platformdirs 4.12 on; before that it took a folder named ~
        found = _homeless()
    if not found.config.is_absolute():
        found = _homeless()
    runtime = environ.get("XDG_RUNTIME_DIR")
    return replace(found, control=(absolute(runtime) / APPLICATION / _SOCKET,) if runtime else ())


def home_folder() -> Path:
    """Return this user's home folder; `/` for an account without one, as in containers."""
    expanded = os.path.expanduser("~")  # noqa: PTH111  pathlib's raises if there is none
    return Path(expanded) if os.path.isabs(expanded) else Path("/")  # noqa: PTH117


def absolute(path: str | Path) -> Path:
    """Return the absolute path with `~` expanded; one of an unknown user stays as it is."""
    expanded = os.path.expanduser(path)  # noqa: PTH111  pathlib's raises there
    return Path(expanded).absolute()


def _homeless() -> Paths:
    state = Path("/.local/state", APPLICATION)
    return _in_folders(Path("/.config", APPLICATION), state, state / "log")


def _in_folders(config: Path, state: Path, log: Path) -> Paths:
    return Paths(
        config=config / "config.toml",
        identity=config / _IDENTITY,
        known_hosts=config / "known_hosts",
        state=state,
        log=log / "ioconnect.log",
    )


def _with_systemd_folders(paths: Paths, environ: Mapping[str, str]) -> Paths:
    runtime = _first_folder(environ, "RUNTIME_DIRECTORY")
    state = _first_folder(environ, "STATE_DIRECTORY") or runtime or paths.state
    logs = _first_folder(environ, "LOGS_DIRECTORY") or paths.log.parent
    control = (runtime / _SOCKET,) if runtime else paths.control
    if os.geteuid() != 0:
        control += (state / "run" / _SOCKET,)
    return replace(paths, state=state, log=logs / paths.log.name, control=control)


def _with_credential(paths: Paths, environ: Mapping[str, str]) -> Paths:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder or not is_handed_over(key := absolute(folder) / CREDENTIAL):
        return paths
    return replace(paths, identity=key, credential=True)


def is_handed_over(credential: Path) -> bool:
    """Whether systemd read this credential from its file when the service started, which was not missing then."""
    try:
        size = credential.stat().st_size  # of a link, as in a Secret of Kubernetes, its target's
    except OSError:
        return False
    return size > len(MISSING_CREDENTIAL)


def _first_folder(environ: Mapping[str, str], name: str) -> Path | None:
    """Return the first folder of a systemd variable (systemd.exec(5): separated by ":")."""
    first = environ.get(name, "").split(":")[0]
    return absolute(first) if first else None
