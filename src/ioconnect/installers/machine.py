"""Looks at this machine: what can run a service here, and how this ioconnect is started. Changes nothing."""

from __future__ import annotations

import os
import pwd
import re
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import ioconnect
from ioconnect.errors import SystemRefused, UsageFault
from ioconnect.installers.apply import run
from ioconnect.installers.service import Kind

PROXY_VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
FOLDER_VARIABLES = ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")  # platformdirs reads them
LINGER = Path("/var/lib/systemd/linger")
CRON_DAEMONS = {"cron", "crond", "fcron", "dcron", "anacron", "bcron-sched"}


@dataclass(frozen=True, slots=True)
class Account:
    """Who runs the agent."""

    name: str
    uid: int
    gid: int
    home: Path
    groups: frozenset[int]


def account(name: str | None = None) -> Account:
    """Return the named account, or the one of this process. Raises UsageFault if there is none of that name."""
    try:
        entry = pwd.getpwuid(os.geteuid()) if name is None else pwd.getpwnam(name)
    except KeyError as error:
        who = f"uid {os.geteuid()}" if name is None else name
        raise UsageFault(
            f"there is no account {who} on this machine",
            hint="Make one, for example: sudo useradd --system --shell /usr/sbin/nologin NAME",
        ) from error
    groups = frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir), groups)


def default_kind() -> Kind:
    """Return the kind of service that fits this machine and this user."""
    root = os.geteuid() == 0
    if sys.platform == "darwin":
        return Kind.LAUNCHD_DAEMON if root else Kind.LAUNCHD_AGENT
    if Path("/run/systemd/system").is_dir():  # sd_booted(3)
        return Kind.SYSTEMD if root else Kind.SYSTEMD_USER
    return Kind.CRON


def systemd_version() -> int | None:
    """Return the version of this machine's systemd; None if it has none, or one that does not say."""
    try:
        said = run(("systemctl", "--version"), deadline=20).out
    except SystemRefused:
        return None
    found = re.match(rb"systemd (\d+)", said)
    return int(found.group(1)) if found else None


def program() -> tuple[str, ...]:
    """Return the command that starts this ioconnect, by paths that outlive an update of the interpreter.

    The console script, else the interpreter as it was called: in a virtual environment a symlink, which is not
    followed.
    """
    folders = [Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))]
    for folder in folders:
        script = folder / "ioconnect"
        if script.is_file() and os.access(script, os.X_OK):
            return (str(script.absolute()),)
    safe_path = ("-P",) if sys.version_info >= (3, 11) else ()  # an ioconnect.py in the working folder is not meant
    return (sys.executable, *safe_path, "-m", "ioconnect")


def program_files(command: tuple[str, ...]) -> list[Path]:
    """Return what must be reachable for the command to run: itself, its interpreter, libraries, and this package."""
    found = [*_links(Path(command[0])), *_links(Path(sys.executable))]
    found += [Path(sys.prefix), Path(sys.base_prefix), Path(ioconnect.__file__).parent]
    return list(dict.fromkeys(found))


def unreadable_for(path: Path, who: Account | None) -> Path | None:
    """Return the first part of the path that the account (None: one with no rights of its own) may not enter or read.

    A path that does not exist counts as readable: whoever makes it decides.
    """
    whole = Path(os.path.realpath(path))
    for part in (*reversed(whole.parents), whole):
        try:
            facts = part.stat()
        except OSError:
            return None
        needed = 0o1 if part != whole else (0o5 if part.is_dir() else 0o4)
        if who is not None and who.uid == 0:
            continue
        shift = 6 if who and facts.st_uid == who.uid else 3 if who and facts.st_gid in who.groups else 0
        if (facts.st_mode >> shift) & needed != needed:
            return part
    return None


def lingers(name: str) -> bool:
    """Say whether the user's services run while the user is not signed in (loginctl(1), enable-linger)."""
    return (LINGER / name).exists()


def cron_runs() -> bool:
    """Say whether a cron daemon runs, as far as /proc tells; without /proc it is taken for granted."""
    commands = list(Path("/proc").glob("[0-9]*/comm"))
    return not commands or any(_first_line(command) in CRON_DAEMONS for command in commands)


def proxy_in_environment() -> str | None:
    """Return the name of the variable that names a proxy for this shell, which a service will not see."""
    return next((name for name in PROXY_VARIABLES if os.environ.get(name)), None)


def folder_variables() -> tuple[tuple[str, str], ...]:
    """Return the variables that decide where this user's files are, as far as they are set."""
    return tuple((name, os.environ[name]) for name in FOLDER_VARIABLES if os.environ.get(name))


def _first_line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # the process ended meanwhile
        return ""


def _links(path: Path) -> list[Path]:
    """Return the path and, if it is a symlink, everything it leads through."""
    found = [path]
    for _ in range(40):  # as many as Linux follows (path_resolution(7))
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
        found.append(path)
    return [*found, Path(os.path.realpath(path))]
