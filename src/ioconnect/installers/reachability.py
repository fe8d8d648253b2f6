"""Checks whether a service can reach its program and configuration, by their paths alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.config.addresses import SocketPath
from ioconnect.custody.remedies import reinstall
from ioconnect.errors import SystemRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ioconnect.config.configuration import Config

HOMES = (Path("/home"), Path("/root"), Path("/run/user"))  # ProtectHome= (systemd.exec(5))
MOVE_SOCKET = (
    "Let the database make it in /run (MySQL: socket, PostgreSQL: unix_socket_directories), or name its port."
)
TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # PrivateTmp=  # noqa: S108  named, not used


def in_homes(paths: Iterable[Path]) -> list[Path]:
    """Return the paths that are hidden by ProtectHome=yes."""
    return [path for path in paths if _inside(path, HOMES)]


def in_temporary(paths: Iterable[Path]) -> list[Path]:
    """Return the paths that are hidden by PrivateTmp=yes."""
    return [path for path in paths if _inside(path, TEMPORARY)]


def refuse_hidden_program(paths: Iterable[Path], *, sees_home: bool) -> None:
    """Raise SystemRefused if the program is hidden from the system service."""
    needed = list(paths)
    hidden = in_temporary(needed) + ([] if sees_home else in_homes(needed))
    if hidden:
        raise SystemRefused(
            f"the system's service does not see {hidden[0]}: it has no access to home and temporary folders, "
            "and ioconnect needs it",
            hint=f"Install it for the machine: {reinstall()}."
            + (" Or use `--kind systemd-user`." if os.geteuid() != 0 else ""),
        )


def refuse_hidden_configuration(config: Path, *, sees_home: bool) -> None:
    """Raise SystemRefused if the configuration is hidden from the system service."""
    if in_temporary([config]) or (not sees_home and in_homes([config])):
        raise SystemRefused(
            f"the system's service does not see {config}: it has no access to home and temporary folders",
            hint="Move the folder with the configuration, pins and identity to /etc/ioconnect, or use "
            "`--run-as ACCOUNT`, which leaves home folders readable.",
        )


def hidden_sockets(config: Config, *, sees_home: bool = False) -> list[str]:
    """Return the Unix sockets of databases that are hidden from the system service, by their targets."""
    paths = [Path(tunnel.target.path) for tunnel in config.tunnels if isinstance(tunnel.target, SocketPath)]
    hidden = in_temporary(paths) + ([] if sees_home else in_homes(paths))
    return list(dict.fromkeys(map(str, hidden)))


def check_printable(words: Iterable[str]) -> None:
    """Raise SystemRefused for a word that a unit, crontab or property list cannot hold: unprintable, not UTF-8."""
    for word in words:
        if not word.isprintable():  # surrogates, which represent bytes that are not UTF-8, are not printable either
            raise SystemRefused(
                f"{word!a} has characters that a service's file cannot hold",
                hint="Move ioconnect or its configuration to a path without them.",
            )


def _inside(path: Path, folders: tuple[Path, ...]) -> bool:
    return any(path == folder or folder in path.parents for folder in folders)
