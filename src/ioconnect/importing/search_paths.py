"""Where autossh lines live on this machine, as one record that tests fill with folders of their own."""

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
class Places:
    """Files and folders to look in; the user's own crontab is asked of `crontab -l`."""

    home: Path
    user_units: Path
    system_crontab: Path = Path("/etc/crontab")
    cron_folder: Path = Path("/etc/cron.d")
    system_units: Path = Path("/etc/systemd/system")
    processes: Path = Path("/proc")


def of_this_machine(environ: Mapping[str, str]) -> Places:
    """Return where this user's and the system's lines are (systemd.unit(5), UNIT FILE LOAD PATH)."""
    home = Path(environ.get("HOME") or home_of_uid(os.geteuid()) or "/")
    settings = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    return Places(home=home, user_units=settings / "systemd" / "user")


def home_of(account: str) -> str | None:
    """Return the account's home folder, None if there is no such account."""
    try:
        return pwd.getpwnam(account).pw_dir
    except (KeyError, ValueError):  # ValueError: a NUL, or what no encoding can hold
        return None


def home_of_uid(uid: int) -> str | None:
    """Return the home folder of this user number, None if nobody has it."""
    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        return None


def account_name() -> str:
    """Return the name of the account that this runs as, "" if it has none."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return ""
