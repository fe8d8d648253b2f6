"""Disables the old tunnels, each step with consent: first what starts them, then the processes that hold the port."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ioconnect.errors import Fault, PortBusy, SystemRefused
from ioconnect.escape import escaped
from ioconnect.importing import disable_sources, old_processes
from ioconnect.importing.source import SourceKind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ioconnect.console.terminal import Terminal
    from ioconnect.importing.plan import PlannedTunnel
    from ioconnect.importing.search_paths import SearchPaths
    from ioconnect.importing.source import Source


@dataclass(frozen=True, slots=True)
class Consent:
    """Who consents: the command line (`disable`), the user if interactive (`asks`), or nobody."""

    dry_run: bool = False
    disable: bool = False
    asks: bool = True


def disable(
    tunnels: Sequence[PlannedTunnel], search: SearchPaths, backups: Path, terminal: Terminal, consent: Consent
) -> tuple[Fault, ...]:
    """Disable sources and stop processes as far as there is consent, and warn of the rest; return what failed."""
    faults: list[Fault] = []
    refused: set[Source] = set()
    for source in dict.fromkeys(source for planned in tunnels for source in planned.sources):
        if not _disable_source(source, backups, terminal, consent, faults):
            refused.add(source)
    for planned in tunnels:
        remaining = [source for source in planned.sources if source in refused]
        if not any(source.kind in disable_sources.UNITS for source in remaining):  # systemd would restart it
            _stop_processes(planned, search, terminal, consent, faults)
        _warn_of_conflict(planned, remaining, search, terminal)
    return tuple(faults)


def _confirmed(question: str, terminal: Terminal, consent: Consent) -> bool:
    if consent.dry_run:
        return False
    if consent.disable:
        return True
    if not consent.asks or not terminal.is_interactive:
        return False
    return terminal.choose(f"{question}? (yes or no)").lower() in ("y", "yes")


def _disable_source(source: Source, backups: Path, terminal: Terminal, consent: Consent, faults: list[Fault]) -> bool:
    """Disable it if there is consent; say whether it no longer starts the tunnel, or systemd cannot tell."""
    prompt = escaped(disable_sources.prompt_to_disable(source))
    shown = f"  {escaped(source.line.strip(), limit=200)}\n" if source.line else ""
    try:
        if not disable_sources.is_enabled(source):
            return True
    except SystemRefused as unknown:
        terminal.warn(unknown)
        return True
    if not _confirmed(f"{shown}{prompt}", terminal, consent):
        return False
    try:
        undo = disable_sources.disable(source, backups)
    except Fault as fault:
        faults.append(fault)
        return False
    if undo:
        terminal.say(f"{shown}{prompt}: done. To undo it: {escaped(undo, limit=500)}")
    return True


def _stop_processes(
    planned: PlannedTunnel, search: SearchPaths, terminal: Terminal, consent: Consent, faults: list[Fault]
) -> None:
    running = old_processes.processes_of(planned.tunnel, search.processes)
    if not running:
        return
    named = _pids(running)
    if not _confirmed(f"Stop what holds {planned.tunnel.endpoint} now: {named}", terminal, consent):
        return
    try:
        old_processes.stop(planned.tunnel, search.processes)
    except Fault as fault:
        faults.append(fault)
    else:
        terminal.say(f"Stopped {named}.")


def _warn_of_conflict(
    planned: PlannedTunnel, remaining: Sequence[Source], search: SearchPaths, terminal: Terminal
) -> None:
    """Warn if the old tunnel still runs, or will be started again."""
    running = old_processes.processes_of(planned.tunnel, search.processes)
    for source in planned.sources:
        if source.kind is SourceKind.TEXT:
            terminal.say(f"{planned.tunnel.name}: {escaped(disable_sources.manual_steps(source))}.")
    if not running and not remaining:
        return
    why = [f"{_pids(running)} still {'holds' if len(running) == 1 else 'hold'} it"] if running else []
    why += [f"{source.location} starts it again" for source in remaining]
    steps = [disable_sources.manual_steps(source) for source in remaining]
    steps += [f"kill {' '.join(str(process.pid) for process in running)}"] if running else []
    terminal.warn(
        PortBusy(
            f"two agents would fight for {planned.tunnel.endpoint}: {', and '.join(why)}",
            hint=f"`ioconnect import --disable-old` ends that; by hand: {'; '.join(steps)}.",
        )
    )


def _pids(running: Sequence[old_processes.Process]) -> str:
    return ", ".join(f"{process.program} (pid {process.pid})" for process in running)
