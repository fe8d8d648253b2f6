"""`ioconnect import`: show what is found, make tunnels of it with consent, then offer to disable the old ones.

Nothing is written before the whole plan is valid; what starts the old tunnels is touched only after the new ones are
saved.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ioconnect.commands.run.agent import how_to_take_over
from ioconnect.config import configuration, pasted
from ioconnect.console.command_group import command, json_option
from ioconnect.console.terminal import is_colourful, read_stdin
from ioconnect.errors import Fault, UsageFault
from ioconnect.escape import escaped
from ioconnect.fault_document import error_of
from ioconnect.importing import (
    disable_old,
    disable_sources,
    find,
    inherited_keys,
    plan,
    plan_table,
    save,
    search_paths,
)
from ioconnect.importing.source import ScanResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ioconnect.config.addresses import HostPort
    from ioconnect.config.paths import Paths
    from ioconnect.console.invocation import Invocation
    from ioconnect.console.terminal import Terminal
    from ioconnect.importing.inherited_keys import HostKeys, InheritedKey
    from ioconnect.importing.plan import Plan, PlannedTunnel
    from ioconnect.importing.search_paths import SearchPaths

BACKUPS = "before-import"  # beside the configuration


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says; without `files` this machine is searched, "-" is standard input."""

    files: tuple[str, ...]
    dry_run: bool
    yes: bool
    disable_old: bool


@command(
    "import",
    examples=["ioconnect import --dry-run", "ioconnect import", "ioconnect import ~/tunnel.sh --yes"],
)
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(allow_dash=True))
@click.option("--dry-run", is_flag=True, help="Show what would be imported and write nothing.")
@click.option("--yes", is_flag=True, help="Import without asking; what starts the old tunnels stays as it is.")
@click.option(
    "--disable-old", is_flag=True, help="Disable what starts the old tunnels, and stop them, without asking."
)
@json_option
@click.pass_obj
def import_(invocation: Invocation, /, files: tuple[str, ...], **flags: bool) -> None:
    """Make tunnels of autossh and ssh lines that exist.

    Reads files (- is stdin), or looks in your crontab, the system's crontabs and the systemd units. Takes over their
    keys and host keys, and offers to disable them. Nothing is ever deleted.
    """
    search = search_paths.of_this_machine(os.environ)
    options = Options(files, **flags)
    tunnels, pins, faults = _import(options, search, invocation.paths, invocation.terminal)
    invocation.answer(
        "\n".join(one.tunnel.name for one in tunnels),
        dry_run=options.dry_run,
        tunnels=[_to_json(one, pins[inherited_keys.jumphost_of(one.tunnel)]) for one in tunnels],
        warnings=[error_of(fault, fault.exit_code) for fault in faults[:-1]],
    )
    for fault in faults[:-1]:
        invocation.terminal.warn(fault)
    if faults:
        raise faults[-1]


def _import(
    options: Options, search: SearchPaths, paths: Paths, terminal: Terminal
) -> tuple[tuple[PlannedTunnel, ...], Mapping[HostPort, HostKeys], tuple[Fault, ...]]:
    """Import, and return the tunnels, their jumphosts' host keys, and the faults that came after they were saved.

    Raises UsageFault (also if nobody can be asked) and ConfigInvalid for conflicts, before anything is written;
    CannotCreate, before the configuration is written and the old tunnels are touched.
    """
    scan = _read(options.files, search, os.environ) if options.files else _search_machine(search, terminal)
    for fault in scan.faults:
        terminal.warn(fault)
    if not scan.found:
        _say_nothing_found(scan, options, terminal)
        return (), {}, ()
    known = configuration.load(paths.config, or_empty=True)
    own_key = known.agent.identity or paths.identity
    planned = plan.make_plan(scan.found, known, own_key=own_key, private_key_of=inherited_keys.private_key_of)
    pins = inherited_keys.host_keys(planned.tunnels, paths.known_hosts)
    _show(planned, pins, terminal)
    if not options.dry_run:
        asks = not options.yes and any(keys.offered for keys in pins.values())
        if planned.config == known and not asks and not any(keys.blobs for keys in pins.values()):
            terminal.say("All of this is imported already.")
        else:
            _ask_for_consent(terminal, options)
            pins = pins if options.yes else _with_consent(pins, terminal)
            for fault in save.unusable_keys(planned):
                terminal.warn(fault)
            save.save(planned, pins, own_key, paths, say=terminal.say)
    consent = disable_old.Consent(dry_run=options.dry_run, disable=options.disable_old, asks=not options.yes)
    _say_what_is_not_pinned(planned, pins, terminal)
    faults = disable_old.disable(planned.tunnels, search, paths.config.parent / BACKUPS, terminal, consent)
    if not options.dry_run:
        _say_next_steps(planned, pins, paths, terminal)
    return planned.tunnels, pins, faults


def _to_json(one: PlannedTunnel, host_keys: HostKeys) -> dict[str, object]:
    return {
        "name": one.tunnel.name,
        "jumphost": str(one.tunnel.jumphost),
        "listen_port": one.tunnel.listen_port,
        "target": str(one.tunnel.target),
        "ssh_user": one.tunnel.ssh_user,
        "new": one.is_new,
        "sources": [source.location for source in one.sources],
        "not_taken_over": one.ignored,
        "host_keys": [
            {
                "fingerprint": key.fingerprint,
                "file": str(key.file),
                "account": key.account or None,
                "taken_over": key in host_keys.taken,
            }
            for key in (*host_keys.taken, *host_keys.offered)
        ],
    }


def _read(files: Sequence[str], search: SearchPaths, environ: Mapping[str, str]) -> ScanResult:
    """Read the named files. Raises UsageFault if one holds no tunnel, or one that cannot be read."""
    scan = ScanResult()
    for file in files:
        if file == "-":
            scan += find.in_text(read_stdin(pasted.MAX_BYTES), "standard input", search, environ)
        else:
            one = find.in_file(Path(file), search, environ)
            if not one.found and not one.faults and not one.disabled:
                raise UsageFault(
                    f"no reverse tunnel is started in {file}", hint="Name a file that holds an ssh or autossh line."
                )
            scan += one
    if scan.faults:
        raise scan.faults[0]
    return scan


def _search_machine(search: SearchPaths, terminal: Terminal) -> ScanResult:
    """Search this machine, and leave out the units that are neither enabled nor running."""
    scan = find.everywhere(search)
    inactive = disable_sources.inactive_units(found.source for found in scan.found)
    for source in inactive:
        terminal.say(
            f"{escaped(source.unit)} is neither enabled nor running and stays out; ioconnect import FILE takes it in."
        )
    return replace(scan, found=tuple(found for found in scan.found if found.source not in inactive))


def _say_nothing_found(scan: ScanResult, options: Options, terminal: Terminal) -> None:
    if scan.disabled:
        terminal.say(f"Nothing to import: {scan.disabled} lines were disabled by an earlier import.")
    elif not options.files:
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


def _ask_for_consent(terminal: Terminal, options: Options) -> None:
    """Raise UsageFault unless somebody agrees to import."""
    if options.yes:
        return
    if not terminal.is_interactive:
        raise UsageFault(
            "nobody can be asked whether to import this: this is not a terminal",
            hint="Give --yes to import it, or --dry-run to look only.",
        )
    if terminal.choose("Import this? (yes or no)").lower() not in ("y", "yes"):
        raise UsageFault("nothing was imported", hint="ioconnect import FILE… imports a part of it.")


def _with_consent(pins: Mapping[HostPort, HostKeys], terminal: Terminal) -> dict[HostPort, HostKeys]:
    """Ask for each host key that another account may have chosen; return the keys with those that were agreed to."""
    return {
        jumphost: keys.with_offered([key for key in keys.offered if _is_trusted(key, jumphost, terminal)])
        for jumphost, keys in pins.items()
    }


def _is_trusted(key: InheritedKey, jumphost: HostPort, terminal: Terminal) -> bool:
    question = f"Trust {key.fingerprint} for {jumphost}? It is {key.origin}. (yes or no)"
    return terminal.choose(question).lower() in ("y", "yes")


def _say_what_is_not_pinned(planned: Plan, pins: Mapping[HostPort, HostKeys], terminal: Terminal) -> None:
    for jumphost, keys in pins.items():
        name = _names(planned)[jumphost]
        for key in keys.offered:
            terminal.say(
                f"Not pinned: {key.fingerprint} for {jumphost}, {key.origin}. "
                f"If it is what Integrate.io tells you by other means: ioconnect pin {name}"
            )


def _names(planned: Plan) -> dict[HostPort, str]:
    """Return a tunnel of each jumphost."""
    return {inherited_keys.jumphost_of(one.tunnel): one.tunnel.name for one in planned.tunnels}


def _say_next_steps(planned: Plan, pins: Mapping[HostPort, HostKeys], paths: Paths, terminal: Terminal) -> None:
    unpinned = [jumphost for jumphost, keys in pins.items() if not (keys.pinned or keys.blobs)]
    names = _names(planned)
    steps = [f"ioconnect pin {names[jumphost]}" for jumphost in unpinned]
    terminal.say(f"Next: {', then '.join((*steps, how_to_take_over(paths)))}.")
