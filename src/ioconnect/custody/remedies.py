"""What to do about a path that another account may change, as half a sentence; nothing is taken from anybody."""

from __future__ import annotations

import os
import shlex
import stat
import sys
from pathlib import Path

_HOMES = (Path("/home"), Path("/root"))
_TOP, _UID_MAP = Path("/"), Path("/proc/self/uid_map")
_SYSTEM_PYTHON = Path("/usr/bin/python3")


def remedy(command: str, facts: os.stat_result, path: Path) -> str:
    """Return the command for this path; of a folder only if it is for ioconnect alone, and then for all in it."""
    quoted = shlex.quote(str(path))
    if not stat.S_ISDIR(facts.st_mode):
        return f"{command} {quoted}"
    for name in ("chown ", "chmod "):
        command = command.replace(name, f"{name}-R ")
    return f"{command} {quoted} if that folder is for ioconnect alone, else {move()}"


def move() -> str:
    """Return what to do where no mode or owner may be changed."""
    if has_foreign_root():
        return "run it outside of this user namespace (without `unshare -r`), where most files have no owner"
    return f"move it into folders that only {'root' if os.geteuid() == 0 else 'you and root'} may change"


def reinstall() -> str:
    """Return the commands that install this program for the machine; a virtual environment cannot be moved.

    By path: no package index has ioconnect, and a name would install what somebody else put there. Where this Python
    is in a home folder (pyenv, uv) the system's is named.
    """
    homely = any(home in Path(os.path.realpath(sys.executable)).parents for home in _HOMES)
    python = _SYSTEM_PYTHON if homely and _SYSTEM_PYTHON.exists() else "python3"
    return (
        f"sudo {python} -m venv /opt/ioconnect && sudo /opt/ioconnect/bin/pip install ./CHECKOUT "
        "(or the wheel that `pip wheel --no-deps .` makes there)"
    )


def has_foreign_root() -> bool:
    """Whether this is root of a user namespace (user_namespaces(7)) in which the owner of `/` has no uid."""
    if os.geteuid() != 0 or _TOP.stat().st_uid == 0:
        return False
    try:
        return _UID_MAP.read_text("ascii").split() != ["0", "0", "4294967295"]
    except OSError:
        return False
