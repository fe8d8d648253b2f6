"""Finds tunnels of autossh and ssh in named files, or in crontabs and systemd units. Changes nothing."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.config import pasted, text_limits
from ioconnect.custody.entries import Untrusted
from ioconnect.custody.files import hint_of, read_regular
from ioconnect.errors import SystemRefused, UsageFault
from ioconnect.escape import escaped, escaped_path
from ioconnect.importing import cron_lines, search_paths, unit_files
from ioconnect.importing.source import FoundTunnel, ScanResult, Source, SourceKind
from ioconnect.installers import user_crontab

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ioconnect.importing.search_paths import SearchPaths

MAX_FILE = text_limits.MAX_TEXT
USER_CRONTAB = "your crontab"


def everywhere(search: SearchPaths) -> ScanResult:
    """Return the tunnels in the user's crontab, the system crontabs, the system units and the user units.

    A file that cannot be read is in `faults`; the others are searched nevertheless.
    """
    result = _in_user_crontab(search)
    for path in (search.system_crontab, *_files_in(search.cron_folder)):
        result += _in_file_or_fault(path, search)
    for folder in (search.system_units, search.user_units):
        for path in _files_in(folder):
            if path.name.endswith(unit_files.SUFFIX):
                result += _in_file_or_fault(path, search)
    return result


def in_file(path: Path, search: SearchPaths, environ: Mapping[str, str]) -> ScanResult:
    """Return the tunnels in a file: a system crontab or a unit by its path, else any text.

    Raises UsageFault if it cannot be read, or a text has no tunnel.
    """
    content = _content(path)
    if _is_crontab(path, search):
        return _in_crontab(content, Source(SourceKind.SYSTEM_CRONTAB, escaped_path(path), path=_real(path)), search)
    if path.name.endswith(unit_files.SUFFIX):
        return _in_unit(content, path, search)
    return in_text(content.decode("utf-8", "backslashreplace"), escaped_path(path), search, environ)


def in_text(text: str, label: str, search: SearchPaths, environ: Mapping[str, str]) -> ScanResult:
    """Return the tunnels in a text of any kind. Raises UsageFault if there is none."""
    disabled = cron_lines.count_disabled(text.encode())
    try:
        tunnels = pasted.parse_all(text, environ={"HOME": str(search.home), **environ})
    except UsageFault:
        if disabled and not pasted.mentions_tunnel(_without_comments(text)):
            return ScanResult(disabled=disabled)
        raise
    if any(tunnel.target is None for tunnel in tunnels):
        hint = "`ioconnect register --endpoint HOST:PORT --to HOST:PORT` takes both."
        raise UsageFault(f"{label} holds a Tunnel Endpoint, and no database that it leads to", hint=hint)
    source = Source(SourceKind.TEXT, label)
    return ScanResult(tuple(FoundTunnel(tunnel, source, str(search.home)) for tunnel in tunnels), disabled=disabled)


def _in_file_or_fault(path: Path, search: SearchPaths) -> ScanResult:
    """Return the tunnels in one of many files; an unreadable one is a fault in the result."""
    try:
        if not path.is_file():  # also a link to /dev/null, by which systemd masks a unit
            return ScanResult()
        return in_file(path, search, {})
    except OSError as error:
        return ScanResult(faults=(SystemRefused(f"cannot look at {escaped_path(path)}: {error.strerror}"),))
    except UsageFault as fault:
        return ScanResult(faults=(fault,))


def _in_user_crontab(search: SearchPaths) -> ScanResult:
    if shutil.which("crontab") is None:
        return ScanResult()
    try:
        return _in_crontab(user_crontab.read(), Source(SourceKind.CRONTAB, USER_CRONTAB), search)
    except (SystemRefused, UsageFault) as fault:
        return ScanResult(faults=(fault,))


def _in_crontab(table: bytes, source: Source, search: SearchPaths) -> ScanResult:
    account = search_paths.account_name()
    own = {"HOME": str(search.home), "USER": account, "LOGNAME": account}
    is_system = source.kind is SourceKind.SYSTEM_CRONTAB
    jobs = cron_lines.jobs(table, {} if is_system else own, home_of=search_paths.home_of if is_system else None)
    commands = ((job.text, replace(source, line=job.raw), job.environ) for job in jobs)
    return _parse(commands, disabled=cron_lines.count_disabled(table))


def _in_unit(content: bytes, path: Path, search: SearchPaths) -> ScanResult:
    unit = _real(path).name if path.is_symlink() else path.name  # the unit that an alias stands for
    kinds = {_real(search.system_units): SourceKind.UNIT, _real(search.user_units): SourceKind.USER_UNIT}
    kind = kinds.get(_real(path.parent), SourceKind.TEXT)
    root = {"HOME": search_paths.home_of(search_paths.ROOT) or "/root", "USER": search_paths.ROOT}
    own = {"HOME": str(search.home), "USER": search_paths.account_name()}
    manager = own if kind is SourceKind.USER_UNIT else root
    texts = [content.decode("utf-8", "backslashreplace"), *_drop_ins(path.with_name(unit))]
    service = unit_files.read(texts, unit=unit, manager=manager, home_of=search_paths.home_of)
    location = escaped(unit) if kind is not SourceKind.TEXT else escaped_path(path)
    source = Source(kind, location, unit=unit)
    result = _parse((command, source, service.environ) for command in service.commands)
    if unit_files.is_template(unit) and (result.found or result.faults):
        instance = unit_files.as_argument(unit.replace("@.", "@INSTANCE."))
        hint = f"Import the line that it stands for: systemctl cat {instance}"
        return ScanResult(
            faults=(
                UsageFault(
                    f"{escaped_path(path)} is a template of units, which cannot be imported as it is", hint=hint
                ),
            )
        )
    return result


def _drop_ins(path: Path) -> list[str]:
    """Return the texts of a unit's drop-ins, in systemd's order."""
    files = [file for file in _files_in(path.with_name(path.name + ".d")) if file.suffix == ".conf"]
    return [_content(file).decode("utf-8", "backslashreplace") for file in files]


def _content(path: Path) -> bytes:
    try:
        return read_regular(path, limit=MAX_FILE)[0]
    except (OSError, Untrusted) as error:
        raise UsageFault(
            f"cannot read {escaped_path(path)}: {error.strerror}",
            hint=hint_of(error, "Name a crontab, a unit file or a script, or - for stdin."),
        ) from error


def _parse(commands: Iterable[tuple[str, Source, Mapping[str, str]]], *, disabled: int = 0) -> ScanResult:
    """Return the tunnels of these commands; one that cannot be parsed is a fault only if it has a remote forward.

    Raises UsageFault for more tunnels than one text may describe.
    """
    found: list[FoundTunnel] = []
    faults: list[UsageFault] = []
    for text, source, environ in commands:
        try:
            tunnels = pasted.parse_all(text, environ=environ)
        except UsageFault as fault:
            if pasted.mentions_tunnel(text):
                faults.append(UsageFault(f"{source.location}: {fault.message}", hint=fault.hint))
            continue
        found += [FoundTunnel(tunnel, source, environ.get("HOME")) for tunnel in tunnels]
        if len(found) > text_limits.MAX_TUNNELS:
            raise UsageFault(
                f"{source.location} describes more than {text_limits.MAX_TUNNELS} tunnels",
                hint=text_limits.HINT,
            )
    return ScanResult(tuple(found), tuple(faults), disabled)


def _is_crontab(path: Path, search: SearchPaths) -> bool:
    folder = _real(path.parent)
    is_main = folder == _real(search.system_crontab.parent) and path.name == search.system_crontab.name
    return is_main or folder == _real(search.cron_folder)


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _files_in(folder: Path) -> list[Path]:
    """Return the folder's files by name, without hidden and backup files; empty if it cannot be read."""
    try:
        jobs = sorted(folder.iterdir())
    except OSError:
        return []
    return [path for path in jobs if not path.name.startswith(".") and not path.name.endswith("~")]


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not line.lstrip().startswith("#"))
