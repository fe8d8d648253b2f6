"""The end of a tunnel of old, step by step and each with consent: what starts it, then what still holds its port."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ioconnect.errors import Fault, PortBusy, SystemRefused
from ioconnect.escape import escaped
from ioconnect.importing import disable_sources, old_processes
from ioconnect.importing.source import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ioconnect.console.terminal import Terminal
    from ioconnect.importing.plan import Planned
    from ioconnect.importing.search_paths import Places
    from ioconnect.importing.source import Origin


@dataclass(frozen=True, slots=True)
class Consent:
    """Who agrees to disable and stop: the command line (`disable`), a person if one may be asked (`asks`), nobody."""

    dry_run: bool = False
    disable: bool = False
    asks: bool = True


def retire(
    tunnels: Sequence[Planned], where: Places, backups: Path, terminal: Terminal, consent: Consent
) -> tuple[Fault, ...]:
    """Disable and stop what somebody agrees to, warn of what is left, and return what could not be done."""
    faults: list[Fault] = []
    refused: set[Origin] = set()
    for origin in dict.fromkeys(origin for one in tunnels for origin in one.origins):
        if not _is_harmless(origin, backups, terminal, consent, faults):
            refused.add(origin)
    for one in tunnels:
        left = [origin for origin in one.origins if origin in refused]
        # A unit that stays would start again at once what is stopped here.
        is_kept = any(origin.kind in disable_sources.UNITS for origin in left)
        if not is_kept:
            _stop(one, where, terminal, consent, faults)
        _warn_of_two(one, left, where, terminal)
    return tuple(faults)


def _agreed(question: str, terminal: Terminal, consent: Consent) -> bool:
    if consent.dry_run:
        return False
    if consent.disable:
        return True
    if not consent.asks or not terminal.is_interactive:
        return False
    return terminal.choose(f"{question}? (yes or no)").lower() in ("y", "yes")


def _is_harmless(origin: Origin, backups: Path, terminal: Terminal, consent: Consent, faults: list[Fault]) -> bool:
    """Disable it if somebody agrees; say whether it starts nothing any more, as far as that can be known."""
    offer = escaped(disable_sources.offer(origin))
    shown = f"  {escaped(origin.line.strip(), limit=200)}\n" if origin.line else ""
    try:
        if not disable_sources.starts(origin):
            return True
    except SystemRefused as unknown:
        terminal.warn(unknown)
        return True
    if not _agreed(f"{shown}{offer}", terminal, consent):
        return False
    try:
        undo = disable_sources.disable(origin, backups)
    except Fault as fault:
        faults.append(fault)
        return False
    if undo:
        terminal.say(f"{shown}{offer}: done. To undo it: {escaped(undo, limit=500)}")
    return True


def _stop(one: Planned, where: Places, terminal: Terminal, consent: Consent, faults: list[Fault]) -> None:
    running = old_processes.holding(one.tunnel, where.processes)
    if not running:
        return
    named = _named(running)
    if not _agreed(f"Stop what holds {one.tunnel.endpoint} now: {named}", terminal, consent):
        return
    try:
        old_processes.stop(one.tunnel, where.processes)
    except Fault as fault:
        faults.append(fault)
    else:
        terminal.say(f"Stopped {named}.")


def _warn_of_two(one: Planned, left: Sequence[Origin], where: Places, terminal: Terminal) -> None:
    """Warn if the tunnel of old goes on, or comes back."""
    running = old_processes.holding(one.tunnel, where.processes)
    for origin in one.origins:
        if origin.kind is Kind.TEXT:
            terminal.say(f"{one.tunnel.name}: {escaped(disable_sources.by_hand(origin))}.")
    if not running and not left:
        return
    why = [f"{_named(running)} still {'holds' if len(running) == 1 else 'hold'} it"] if running else []
    why += [f"{origin.where} starts it again" for origin in left]
    steps = [disable_sources.by_hand(origin) for origin in left]
    steps += [f"kill {' '.join(str(process.pid) for process in running)}"] if running else []
    terminal.warn(
        PortBusy(
            f"two agents would fight for {one.tunnel.endpoint}: {', and '.join(why)}",
            hint=f"`ioconnect import --disable-old` ends that; by hand: {'; '.join(steps)}.",
        )
    )


def _named(running: Sequence[old_processes.Process]) -> str:
    return ", ".join(f"{process.program} (pid {process.pid})" for process in running)
