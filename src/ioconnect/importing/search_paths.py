"""The files and folders that an import searches, which tests replace by their own; and account look-ups."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = "root"


@dataclass(frozen=True, slots=True)
class SearchPaths:
    """Files and folders to search; the user's own crontab is read with `crontab -l`."""

    home: Path
    user_units: Path
    system_crontab: Path = Path("/etc/crontab")
    cron_folder: Path = Path("/etc/cron.d")
    system_units: Path = Path("/etc/systemd/system")
    processes: Path = Path("/proc")


def of_this_machine(environ: Mapping[str, str]) -> SearchPaths:
    """Return the search paths of this user and the system (systemd.unit(5), UNIT FILE LOAD PATH)."""
    home = Path(environ.get("HOME") or home_of_uid(os.geteuid()) or "/")
    settings = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    return SearchPaths(home=home, user_units=settings / "systemd" / "user")


def home_of(account: str) -> str | None:
    """Return the account's home folder, None without such an account."""
    try:
        return pwd.getpwnam(account).pw_dir
    except (KeyError, ValueError):  # ValueError: a NUL, or what no encoding can hold
        return None


def home_of_uid(uid: int) -> str | None:
    """Return the home folder of this uid, None without such an account."""
    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        return None


def account_name() -> str:
    """Return the name of this process's account, "" if it has none."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return ""
