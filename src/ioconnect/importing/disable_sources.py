"""Keeps what started a tunnel of old from starting it again, in a way that can be undone; deletes nothing.

What is done is returned as how to undo it. A crontab's line gets a mark in front, after a copy of all was kept.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING

from ioconnect.config.files import make_folder, read_regular, write_atomically, write_new
from ioconnect.errors import CannotCreate, SystemRefused
from ioconnect.importing import cron_lines
from ioconnect.importing.find import LARGEST_FILE
from ioconnect.importing.source import Kind, Origin
from ioconnect.installers import user_crontab
from ioconnect.installers.apply import run

if TYPE_CHECKING:
    from pathlib import Path

# systemctl(1), is-enabled and is-active; what is "linked" or "static" starts nothing by itself.
ENABLED = {"enabled", "enabled-runtime"}
ACTIVE = {"active", "activating", "reloading"}
CRONTABS = (Kind.CRONTAB, Kind.SYSTEM_CRONTAB)
UNITS = (Kind.UNIT, Kind.USER_UNIT)


@dataclass(frozen=True, slots=True)
class UnitState:
    """What systemd says of a unit."""

    enabled: bool
    active: bool


def state(origin: Origin) -> UnitState:
    """Return the unit's state. Raises SystemRefused if systemd cannot be asked."""
    systemctl = _systemctl(origin)
    enabled = run((*systemctl, "is-enabled", origin.unit), deadline=20)
    active = run((*systemctl, "is-active", origin.unit), deadline=20)
    if not enabled.out and not active.out:
        raise SystemRefused(
            f"systemd cannot be asked about {origin.unit}: {enabled.words or active.words}",
            hint=f"If it starts a tunnel that was imported: {by_hand(origin)}.",
        )
    return UnitState(enabled.out.decode().strip() in ENABLED, active.out.decode().strip() in ACTIVE)


def starts(origin: Origin) -> bool:
    """Say whether it starts the tunnel, now or at the next boot; of a text nobody knows. Raises SystemRefused."""
    if origin.kind in CRONTABS:
        return True
    if origin.kind is Kind.TEXT or shutil.which("systemctl") is None:
        return False
    unit = state(origin)
    return unit.enabled or unit.active


def offer(origin: Origin) -> str:
    """Return what would be done to it, as a question without its mark."""
    if origin.kind in CRONTABS:
        return f"Disable this line in {origin.where}"
    return f"Stop and disable the {origin.kind.value} {origin.unit}"


def by_hand(origin: Origin) -> str:
    """Return how a person disables it."""
    match origin.kind:
        case Kind.CRONTAB:
            return "put a # in front of its line with `crontab -e`"
        case Kind.SYSTEM_CRONTAB:
            return f"put a # in front of its line in {origin.where}, as root"
        case Kind.UNIT:
            return f"sudo systemctl disable --now {origin.unit}"
        case Kind.USER_UNIT:
            return f"systemctl --user disable --now {origin.unit}"
        case Kind.TEXT:
            return f"see to it that nothing starts what stands in {origin.where}"


def disable(origin: Origin, backups: Path) -> str:
    """Disable it and return how to undo that, "" if it is disabled already. Raises SystemRefused, CannotCreate."""
    if origin.kind is Kind.CRONTAB:
        return _disable_in_crontab(origin, backups)
    if origin.kind is Kind.SYSTEM_CRONTAB:
        return _disable_in_file(origin, backups)
    return _disable_unit(origin)


def _disable_in_crontab(origin: Origin, backups: Path) -> str:
    copy = _keep(user_crontab.read(), backups, "crontab")
    if not user_crontab.edit(partial(cron_lines.disabled, lines=(origin.line,))):
        return ""
    return f"crontab -e, and take away “{cron_lines.MARK.decode().strip()}”; the crontab as it was is in {copy}"


def _disable_in_file(origin: Origin, backups: Path) -> str:
    path = origin.path
    assert path is not None  # what this kind always has
    try:
        content, facts = read_regular(path, limit=LARGEST_FILE)
    except OSError as error:
        raise SystemRefused(f"cannot read {path}: {error.strerror}", hint=f"By hand: {by_hand(origin)}.") from error
    changed = cron_lines.disabled(content, (origin.line,))
    if changed == content:
        return ""
    copy = _keep(content, backups, path.name)
    write_atomically(path, changed, mode=facts.st_mode & 0o7777)
    return f"take away “{cron_lines.MARK.decode().strip()}” in {path}; the file as it was is in {copy}"


def _disable_unit(origin: Origin) -> str:
    before = state(origin)
    if not (before.enabled or before.active):
        return ""
    systemctl = _systemctl(origin)
    ran = run((*systemctl, "disable", "--now", origin.unit))
    if ran.code != 0:
        raise SystemRefused(
            f"{origin.unit} cannot be disabled: {ran.words or f'code {ran.code}'}",
            hint=f"By hand: {by_hand(origin)}.",
        )
    now = " --now" if before.active else ""
    return f"{' '.join(systemctl)} {f'enable{now}' if before.enabled else 'start'} {origin.unit}"


def _systemctl(origin: Origin) -> tuple[str, ...]:
    return ("systemctl", "--user") if origin.kind is Kind.USER_UNIT else ("systemctl",)


def _keep(content: bytes, backups: Path, name: str) -> Path:
    """Keep a copy, one for every change of the same file. Raises CannotCreate."""
    make_folder(backups)
    moment = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    for number in range(100):
        copy = backups / f"{name}.{moment}{f'-{number}' if number else ''}"
        if write_new(copy, content):
            return copy
    raise CannotCreate(f"there are too many copies in {backups}", hint="Move them elsewhere.")
