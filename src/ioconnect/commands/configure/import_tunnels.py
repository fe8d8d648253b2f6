"""`import`: show what is found, make tunnels of it with consent, then offer to disable what started them until now.

Nothing is written before the whole plan holds; the old is touched only after the new is saved.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.commands.configure.register import read_paste
from ioconnect.config import configuration
from ioconnect.console.terminal import answer, is_colourful
from ioconnect.errors import Fault, SystemRefused, UsageFault
from ioconnect.escape import escaped
from ioconnect.importing import disable_old, disable_sources, find, inherited_keys, plan, plan_table
from ioconnect.importing.source import ScanResult
from ioconnect.keys import identity, known_hosts
from ioconnect.status import lock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ioconnect.config.configuration import HostPort
    from ioconnect.config.paths import Paths
    from ioconnect.console.terminal import Terminal
    from ioconnect.importing.inherited_keys import HostKeys
    from ioconnect.importing.plan import Plan, PlannedTunnel
    from ioconnect.importing.search_paths import SearchPaths
    from ioconnect.importing.source import Source

BACKUPS = "before-import"  # beside the configuration


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asks for; without `files` everything is looked at, "-" is standard input."""

    files: tuple[str, ...] = ()
    dry_run: bool = False
    yes: bool = False
    disable_old: bool = False


def run(wish: Wish, search_paths: SearchPaths, paths: Paths, terminal: Terminal, environ: Mapping[str, str]) -> None:
    """Import, and answer with the tunnels' names. Raises what `take_over` raises or, last, what it returns."""
    names, faults = take_over(wish, search_paths, paths, terminal, environ)
    for name in names:
        answer(name)
    for fault in faults[:-1]:
        terminal.warn(fault)
    if faults:
        raise faults[-1]


def take_over(
    wish: Wish, search_paths: SearchPaths, paths: Paths, terminal: Terminal, environ: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[Fault, ...]]:
    """Import, and return the tunnels' names and what went wrong after they were saved.

    Raises UsageFault (also if nobody can be asked) and ConfigInvalid for conflicts, before anything is written;
    CannotCreate, before the configuration is and before the old is touched.
    """
    reading = (
        _read(wish.files, search_paths, environ) if wish.files else _alive(find.everywhere(search_paths), terminal)
    )
    for fault in reading.faults:
        terminal.warn(fault)
    if not reading.found:
        _say_nothing_found(reading, wish, terminal)
        return (), ()
    known = configuration.load(paths.config, or_empty=True)
    own_key = known.agent.identity or paths.identity
    planned = plan.make_plan(reading.found, known, own_key=own_key, private_key_of=inherited_keys.private_key_of)
    pins = inherited_keys.host_keys(planned.tunnels, paths.known_hosts)
    _show(planned, pins, terminal)
    if not wish.dry_run:
        if planned.config == known and not any(keys.blobs for keys in pins.values()):
            terminal.say("All of this is imported already.")
        else:
            _agree(terminal, wish)
            _make(planned, pins, own_key, paths, terminal)
    consent = disable_old.Consent(dry_run=wish.dry_run, disable=wish.disable_old, asks=not wish.yes)
    faults = disable_old.disable(planned.tunnels, search_paths, paths.config.parent / BACKUPS, terminal, consent)
    if not wish.dry_run:
        _say_what_is_next(planned, pins, paths, terminal)
    return tuple(one.tunnel.name for one in planned.tunnels), faults


def _read(files: Sequence[str], search_paths: SearchPaths, environ: Mapping[str, str]) -> ScanResult:
    """Read what is named, of which all must make sense."""
    reading = ScanResult()
    for file in files:
        if file == "-":
            reading += find.in_text(read_paste(sys.stdin), "standard input", search_paths, environ)
        else:
            one = find.in_file(Path(file), search_paths, environ)
            if not one.found and not one.faults and not one.disabled:
                raise UsageFault(
                    f"no reverse tunnel is started in {file}", hint="Name a file that holds an ssh or autossh line."
                )
            reading += one
    if reading.faults:
        raise reading.faults[0]
    return reading


def _alive(reading: ScanResult, terminal: Terminal) -> ScanResult:
    """Leave out the units that start nothing, neither now nor at the next boot: somebody has given them up."""
    units = (found.source for found in reading.found if found.source.kind in disable_sources.UNITS)
    dead = [unit for unit in dict.fromkeys(units) if _is_dead(unit)]
    for source in dead:
        terminal.say(
            f"{escaped(source.unit)} is neither enabled nor running and stays out; ioconnect import FILE takes it in."
        )
    return replace(reading, found=tuple(found for found in reading.found if found.source not in dead))


def _is_dead(unit: Source) -> bool:
    try:
        return not disable_sources.is_enabled(unit)
    except SystemRefused:  # not known to be dead
        return False


def _say_nothing_found(reading: ScanResult, wish: Wish, terminal: Terminal) -> None:
    if reading.disabled:
        terminal.say(f"Nothing to import: {reading.disabled} lines were disabled by an earlier import.")
    elif not wish.files:
        terminal.say(
            "Found no tunnel of ssh or autossh in your crontab, the system's crontabs and the systemd units.\n"
            "If a script starts it: ioconnect import FILE."
        )


def _show(planned: Plan, pins: Mapping[HostPort, HostKeys], terminal: Terminal) -> None:
    known = {one.tunnel.name: pins[inherited_keys.jumphost_of(one.tunnel)].description for one in planned.tunnels}
    cells = plan_table.rows(planned.tunnels)
    if is_colourful(sys.stderr, os.environ) and not terminal.quiet:
        from rich.console import Console  # noqa: PLC0415  heavy, and only a terminal needs it

        Console(file=sys.stderr).print(plan_table.rich_table(cells))
    else:
        terminal.say(plan_table.plain(cells))
    terminal.say("\n".join(plan_table.notes(planned.tunnels, known)))


def _agree(terminal: Terminal, wish: Wish) -> None:
    """Raise UsageFault unless somebody agrees to import."""
    if wish.yes:
        return
    if not terminal.is_interactive:
        raise UsageFault(
            "nobody can be asked whether to import this: this is not a terminal",
            hint="Give --yes to import it, or --dry-run to look only.",
        )
    if terminal.choose("Import this? (yes or no)").lower() not in ("y", "yes"):
        raise UsageFault("nothing was imported", hint="ioconnect import FILE… imports a part of it.")


def _make(planned: Plan, pins: Mapping[HostPort, HostKeys], own_key: Path, paths: Paths, terminal: Terminal) -> None:
    """Write an identity if one is needed, the pins, and last the configuration."""
    new = [one for one in planned.tunnels if one.is_new]
    _look_at_keys(new, own_key, terminal)
    for jumphost, keys in pins.items():
        if keys.blobs:
            known_hosts.pin(paths.known_hosts, jumphost.host, jumphost.port, keys.blobs)
            fingerprints = ", ".join(map(known_hosts.fingerprint, keys.blobs))
            terminal.say(f"Pinned {jumphost}, as its known_hosts has it: {fingerprints}")
    if new:
        configuration.save(paths.config, planned.config)
        terminal.say(f"Saved {', '.join(one.tunnel.name for one in new)} in {paths.config}.")


def _look_at_keys(new: Sequence[PlannedTunnel], own_key: Path, terminal: Terminal) -> None:
    """Say what the agent would not like about a key that is taken over, and hand over ours where there is none."""
    for key in dict.fromkeys(one.tunnel.identity for one in new if one.tunnel.identity):
        try:
            identity.load(key)
        except Fault as fault:  # noqa: PERF203  a handful of keys
            terminal.warn(fault)
    lost = [one.tunnel.name for one in new if not any(map(inherited_keys.private_key_of, one.found))]
    if lost:
        line, _ = identity.generate(own_key)
        terminal.say(
            f"The key that {', '.join(lost)} signed in with is not on this machine. This one is for the field "
            f'"Your SSH Public Key" in the Integrate.io UI:\n\n{line}\n'
        )


def _say_what_is_next(planned: Plan, pins: Mapping[HostPort, HostKeys], paths: Paths, terminal: Terminal) -> None:
    unpinned = [jumphost for jumphost, keys in pins.items() if not (keys.pinned or keys.blobs)]
    names = {inherited_keys.jumphost_of(one.tunnel): one.tunnel.name for one in planned.tunnels}
    steps = [f"ioconnect pin {names[jumphost]}" for jumphost in unpinned]
    steps.append("ioconnect up --daemon" if lock.holder(paths.lock) is None else "ioconnect reload")
    terminal.say(f"Next: {', then '.join(steps)}.")
