"""Looks for tunnels of autossh and ssh: in named files, or where a machine starts things. Changes nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.config import pasted
from ioconnect.config.files import read_regular
from ioconnect.errors import SystemRefused, UsageFault
from ioconnect.importing import cron_lines, search_paths, unit_files
from ioconnect.importing.source import Found, Kind, Origin, Reading
from ioconnect.installers import user_crontab

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ioconnect.importing.search_paths import Places

LARGEST_FILE = pasted.MAX_TEXT
OWN_CRONTAB = "your crontab"


def everywhere(where: Places) -> Reading:
    """Return what the user's crontab, the system's crontabs and the units of both start.

    What cannot be read is in `unread`, and does not keep the rest from being found.
    """
    reading = _own_crontab(where)
    for path in (where.system_crontab, *_files_in(where.cron_folder)):
        reading += _tolerant(path, where)
    for folder in (where.system_units, where.user_units):
        for path in _files_in(folder):
            if path.name.endswith(unit_files.SUFFIX):
                reading += _tolerant(path, where)
    return reading


def in_file(path: Path, where: Places, environ: Mapping[str, str]) -> Reading:
    """Return what a file starts: a crontab or unit if it is one of this machine's, else any text.

    Raises UsageFault if it cannot be read, or if there is nothing in it.
    """
    content = _content(path)
    if _is_crontab(path, where):
        return _of_crontab(content, Origin(Kind.SYSTEM_CRONTAB, str(path), path=_real(path)), where)
    if path.name.endswith(unit_files.SUFFIX):
        return _of_unit(content, path, where)
    return in_text(content.decode("utf-8", "backslashreplace"), str(path), where, environ)


def in_text(text: str, called: str, where: Places, environ: Mapping[str, str]) -> Reading:
    """Return what lines of any kind start. Raises UsageFault if there is no tunnel in them."""
    disabled = cron_lines.count_disabled(text.encode())
    try:
        tunnels = pasted.parse_all(text, environ={"HOME": str(where.home), **environ})
    except UsageFault:
        if disabled and not pasted.mentions_tunnel(_without_comments(text)):
            return Reading(disabled=disabled)
        raise
    if any(tunnel.target is None for tunnel in tunnels):
        hint = "`ioconnect register --endpoint HOST:PORT --to HOST:PORT` takes both."
        raise UsageFault(f"{called} holds a Tunnel Endpoint, and no database that it leads to", hint=hint)
    origin = Origin(Kind.TEXT, called)
    return Reading(tuple(Found(tunnel, origin, str(where.home)) for tunnel in tunnels), disabled=disabled)


def _tolerant(path: Path, where: Places) -> Reading:
    """Read one file of many: not being one is no news, not being readable is."""
    try:
        if not path.is_file():  # also a link to /dev/null, by which systemd masks a unit
            return Reading()
        return in_file(path, where, {})
    except OSError as error:
        return Reading(unread=(SystemRefused(f"cannot look at {path}: {error.strerror}"),))
    except UsageFault as fault:
        return Reading(unread=(fault,))


def _own_crontab(where: Places) -> Reading:
    if shutil.which("crontab") is None:
        return Reading()
    try:
        table = user_crontab.read()
    except SystemRefused as refused:
        return Reading(unread=(refused,))
    return _of_crontab(table, Origin(Kind.CRONTAB, OWN_CRONTAB), where)


def _of_crontab(table: bytes, origin: Origin, where: Places) -> Reading:
    account = search_paths.account_name()
    own = {"HOME": str(where.home), "USER": account, "LOGNAME": account}
    is_system = origin.kind is Kind.SYSTEM_CRONTAB
    listed = cron_lines.jobs(table, {} if is_system else own, home_of=search_paths.home_of if is_system else None)
    reading = Reading(disabled=cron_lines.count_disabled(table))
    for job in listed:
        at = Origin(origin.kind, origin.where, path=origin.path, line=job.raw)
        reading += _read((job.text,), at, job.environ)
    return reading


def _of_unit(content: bytes, path: Path, where: Places) -> Reading:
    unit = _real(path).name if path.is_symlink() else path.name  # the unit that an alias stands for
    folder = _real(path.parent)
    is_own = folder == _real(where.user_units)
    kind = Kind.USER_UNIT if is_own else Kind.UNIT if folder == _real(where.system_units) else Kind.TEXT
    root = {"HOME": search_paths.home_of(search_paths.ROOT) or "/root", "USER": search_paths.ROOT}
    own = {"HOME": str(where.home), "USER": search_paths.account_name()}
    texts = [content.decode("utf-8", "backslashreplace"), *_drop_ins(path.with_name(unit))]
    service = unit_files.read(texts, unit=unit, manager=own if is_own else root, home_of=search_paths.home_of)
    origin = Origin(kind, unit if kind is not Kind.TEXT else str(path), unit=unit)
    reading = _read(service.starts, origin, service.environ)
    if unit_files.is_template(unit) and (reading.found or reading.unread):
        hint = f"Import the line that it stands for: systemctl cat {unit.replace('@.', '@INSTANCE.')}"
        return Reading(
            unread=(UsageFault(f"{path} is a template of units, which cannot be imported as it is", hint=hint),)
        )
    return reading


def _drop_ins(path: Path) -> list[str]:
    """Return the texts of a unit's drop-ins in the order in which they count."""
    files = [file for file in _files_in(path.with_name(path.name + ".d")) if file.suffix == ".conf"]
    return [_content(file).decode("utf-8", "backslashreplace") for file in files]


def _content(path: Path) -> bytes:
    try:
        return read_regular(path, limit=LARGEST_FILE)[0]
    except OSError as error:
        raise UsageFault(
            f"cannot read {path}: {error.strerror}", hint="Name a crontab, a unit file or a script, or - for stdin."
        ) from error


def _read(texts: Iterable[str], origin: Origin, environ: Mapping[str, str]) -> Reading:
    """Return the tunnels of these commands; one that cannot be read is told only if it was meant to be a tunnel."""
    reading = Reading()
    for text in texts:
        try:
            tunnels = pasted.parse_all(text, environ=environ)
        except UsageFault as fault:
            if pasted.mentions_tunnel(text):
                reading += Reading(unread=(UsageFault(f"{origin.where}: {fault.message}", hint=fault.hint),))
            continue
        reading += Reading(tuple(Found(tunnel, origin, environ.get("HOME")) for tunnel in tunnels))
    return reading


def _is_crontab(path: Path, where: Places) -> bool:
    folder = _real(path.parent)
    is_main = folder == _real(where.system_crontab.parent) and path.name == where.system_crontab.name
    return is_main or folder == _real(where.cron_folder)


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _files_in(folder: Path) -> list[Path]:
    """Return what is in the folder by name, less what nothing reads; empty if it cannot be looked at."""
    try:
        listed = sorted(folder.iterdir())
    except OSError:
        return []
    return [path for path in listed if not path.name.startswith(".") and not path.name.endswith("~")]


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not line.lstrip().startswith("#"))
