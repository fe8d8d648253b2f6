"""Disables what starts an old tunnel, reversibly: comments out a crontab's line, disables a unit; deletes nothing.

Every step returns how to undo it. A crontab is backed up before it is changed.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING

from ioconnect.custody.entries import Untrusted
from ioconnect.custody.files import make_folder, read_regular, write_atomically, write_new
from ioconnect.errors import CannotCreate, SystemRefused
from ioconnect.importing import cron_lines, unit_files
from ioconnect.importing.find import MAX_FILE
from ioconnect.importing.source import Source, SourceKind
from ioconnect.installers import user_crontab
from ioconnect.installers.programs import run

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# systemctl(1), is-enabled and is-active; a unit that is "linked" or "static" is not started by itself.
ENABLED = {"enabled", "enabled-runtime"}
ACTIVE = {"active", "activating", "reloading"}
CRONTABS = (SourceKind.CRONTAB, SourceKind.SYSTEM_CRONTAB)
UNITS = (SourceKind.UNIT, SourceKind.USER_UNIT)


@dataclass(frozen=True, slots=True)
class UnitState:
    """The state of a unit in systemd."""

    enabled: bool
    active: bool


def unit_state(source: Source) -> UnitState:
    """Return the unit's state. Raises SystemRefused if systemctl fails."""
    systemctl = _systemctl(source)
    enabled = run((*systemctl, "is-enabled", "--", source.unit), timeout=20)
    active = run((*systemctl, "is-active", "--", source.unit), timeout=20)
    if not enabled.stdout and not active.stdout:
        raise SystemRefused(
            f"systemd cannot be asked about {source.unit}: {enabled.error_text or active.error_text}",
            hint=f"If it starts a tunnel that was imported: {manual_steps(source)}.",
        )
    return UnitState(enabled.stdout.decode().strip() in ENABLED, active.stdout.decode().strip() in ACTIVE)


def is_enabled(source: Source) -> bool:
    """Say whether it starts the tunnel, now or at the next boot; False for a text. Raises SystemRefused."""
    if source.kind in CRONTABS:
        return True
    if source.kind is SourceKind.TEXT or shutil.which("systemctl") is None:
        return False
    unit = unit_state(source)
    return unit.enabled or unit.active


def inactive_units(sources: Iterable[Source]) -> list[Source]:
    """Return the units that are neither enabled nor running; a unit that systemd cannot be asked about is not one."""
    inactive: list[Source] = []
    for unit in dict.fromkeys(source for source in sources if source.kind in UNITS):
        with contextlib.suppress(SystemRefused):
            if not is_enabled(unit):
                inactive.append(unit)
    return inactive


def prompt_to_disable(source: Source) -> str:
    """Return what `disable` would do, as a question without its question mark."""
    if source.kind in CRONTABS:
        return f"Disable this line in {source.location}"
    return f"Stop and disable the {source.kind.value} {source.unit}"


def manual_steps(source: Source) -> str:
    """Return how to disable it by hand."""
    match source.kind:
        case SourceKind.CRONTAB:
            return "put a # in front of its line with `crontab -e`"
        case SourceKind.SYSTEM_CRONTAB:
            return f"put a # in front of its line in {source.location}, as root"
        case SourceKind.UNIT:
            return f"sudo systemctl disable --now {unit_files.as_argument(source.unit)}"
        case SourceKind.USER_UNIT:
            return f"systemctl --user disable --now {unit_files.as_argument(source.unit)}"
        case SourceKind.TEXT:
            return f"see to it that nothing starts what stands in {source.location}"


def disable(source: Source, backups: Path) -> str:
    """Disable it; return how to undo that, "" if it is disabled already. Raises SystemRefused, CannotCreate."""
    if source.kind is SourceKind.CRONTAB:
        return _disable_in_crontab(source, backups)
    if source.kind is SourceKind.SYSTEM_CRONTAB:
        return _disable_in_file(source, backups)
    return _disable_unit(source)


def _disable_in_crontab(source: Source, backups: Path) -> str:
    copy = _back_up(user_crontab.read(), backups, "crontab")
    if not user_crontab.edit(partial(cron_lines.disable, lines=(source.line,))):
        return ""
    return f"crontab -e, and take away “{cron_lines.MARK.decode().strip()}”; the crontab as it was is in {copy}"


def _disable_in_file(source: Source, backups: Path) -> str:
    path = source.path
    assert path is not None  # what this kind always has
    try:
        content, facts = read_regular(path, limit=MAX_FILE)
    except (OSError, Untrusted) as error:
        raise SystemRefused(
            f"cannot read {source.location}: {error.strerror}", hint=f"By hand: {manual_steps(source)}."
        ) from error
    changed = cron_lines.disable(content, (source.line,))
    if changed == content:
        return ""
    copy = _back_up(content, backups, path.name)
    write_atomically(path, changed, mode=facts.st_mode)
    return f"take away “{cron_lines.MARK.decode().strip()}” in {path}; the file as it was is in {copy}"


def _disable_unit(source: Source) -> str:
    before = unit_state(source)
    if not (before.enabled or before.active):
        return ""
    systemctl = _systemctl(source)
    result = run((*systemctl, "disable", "--now", "--", source.unit))
    if result.returncode != 0:
        raise SystemRefused(
            f"{source.unit} cannot be disabled: {result.error_text or f'code {result.returncode}'}",
            hint=f"By hand: {manual_steps(source)}.",
        )
    now = " --now" if before.active else ""
    return (
        f"{' '.join(systemctl)} {f'enable{now}' if before.enabled else 'start'} {unit_files.as_argument(source.unit)}"
    )


def _systemctl(source: Source) -> tuple[str, ...]:
    return ("systemctl", "--user") if source.kind is SourceKind.USER_UNIT else ("systemctl",)


def _back_up(content: bytes, backups: Path, name: str) -> Path:
    """Write a backup copy, a new one for every change. Raises CannotCreate."""
    make_folder(backups)
    moment = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    for number in range(100):
        copy = backups / f"{name}.{moment}{f'-{number}' if number else ''}"
        if write_new(copy, content, keeps_owner=False):
            return copy
    raise CannotCreate(f"there are too many copies in {backups}", hint="Move them elsewhere.")
