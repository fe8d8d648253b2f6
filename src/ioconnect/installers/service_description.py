"""Builds the service to be installed from this machine, its files and the options, or finds why it cannot work."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.config import configuration
from ioconnect.config.addresses import has_password
from ioconnect.config.paths import CREDENTIAL, Paths, absolute, discover, home_folder, site_paths
from ioconnect.custody import program
from ioconnect.custody.entries import custody_of
from ioconnect.custody.files import ROOT_ALONE
from ioconnect.custody.remedies import reinstall
from ioconnect.errors import ConfigInvalid, IdentityMissing, SystemRefused, UsageFault
from ioconnect.installers import machine, reachability
from ioconnect.installers.service import Kind, Service
from ioconnect.installers.systemd import CREDENTIALS_SINCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ioconnect.config.configuration import Config
    from ioconnect.errors import Fault
    from ioconnect.installers.machine import Account

MAX_TOLD = 3  # paths in one message


@dataclass(frozen=True, slots=True)
class ServiceDescription:
    """A service, notes for the user, and the `shared_files` that `reader` must be able to read.

    `reader` None is a dynamic user, which has no rights of its own.
    """

    service: Service
    paths: Paths
    reader: Account | None
    shared_files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def describe(
    kind: Kind,
    *,
    run_as: str | None,
    encrypted: bool,
    config: Path | None,
    print_only: bool,
    may_not_install: bool = False,
) -> ServiceDescription:
    """Return the service. Raises ConfigInvalid, IdentityMissing, SystemRefused or UsageFault if it cannot work.

    With `print_only` each of these but an invalid call becomes a note: the file may be meant for another machine. A
    user who `may_not_install` it is told of no file that only root may read.
    """
    machine.check_account_name(run_as)
    notes: list[str] = []
    paths = _paths(kind, config, print_only=print_only)
    settings = configuration.Config()
    with _noted(notes, print_only=print_only, unless=may_not_install):
        settings = configuration.load(paths.config)
    reader = None if kind is Kind.SYSTEMD and run_as is None else machine.account()
    if run_as is not None:
        reader = _account_elsewhere(run_as)
        with _noted(notes, print_only=print_only):
            reader = machine.account(run_as)
    service = _service(kind, paths, settings, run_as=run_as, encrypted=encrypted, home=_home(reader))
    words = [*service.command, *(value for _, value in service.environment), str(service.log), str(service.home)]
    reachability.check_printable([*words, *(str(path) for _, path in service.credentials)])
    shared = (paths.config, paths.known_hosts) if kind is Kind.SYSTEMD or run_as else ()
    description = ServiceDescription(service, paths, reader, shared_files=shared)
    with _noted(notes, print_only=print_only):
        _refuse_unreachable(kind, description, paths)
    if not may_not_install:
        with _noted(notes, print_only=print_only):
            _refuse_unreadable_identities(kind, description, settings, paths)
        with _noted(notes, print_only=print_only):
            _refuse_open_secrets(description, settings)
    if kind is Kind.SYSTEMD:
        hidden = reachability.hidden_sockets(settings, sees_home=service.sees_home)
        notes += [f"The service does not see the socket {path}. {reachability.MOVE_SOCKET}" for path in hidden]
    return replace(description, notes=(*_notes(kind, settings, reader), *notes))


@contextlib.contextmanager
def _noted(notes: list[str], *, print_only: bool, unless: bool = False) -> Iterator[None]:
    """With `print_only` add a fault of this machine to the notes, else raise it."""
    try:
        yield
    except (ConfigInvalid, IdentityMissing, SystemRefused, UsageFault) as fault:
        if not print_only:
            raise
        if not unless:
            notes.append(refusal(fault))


def refusal(fault: Fault) -> str:
    """Return the note for `--print` of what `install-service` would be refused for."""
    return f"On this machine: {fault.message}." + (f" {fault.hint}" if fault.hint else "")


def _account_elsewhere(name: str) -> Account:
    """Return the account as it may be on another machine."""
    return machine.Account(name, -1, -1, Path("/home", name), frozenset())


def _paths(kind: Kind, config: Path | None, *, print_only: bool) -> Paths:
    named = config or os.environ.get("IOCONNECT_HOME") or os.environ.get("IOCONNECT_CONFIG")
    if print_only and kind.is_system and not named and os.geteuid() != 0:
        return site_paths()  # only root can install it
    paths = discover(os.environ, config=config)
    if kind is Kind.SYSTEMD and paths.known_hosts.parent != paths.config.parent:
        raise SystemRefused(
            f"the pins are in {paths.known_hosts.parent}, the configuration is {paths.config}",
            hint="The system's service needs both in one folder; unset IOCONNECT_HOME, or leave --config out.",
        )
    return paths


def _service(
    kind: Kind, paths: Paths, settings: Config, *, run_as: str | None, encrypted: bool, home: Path
) -> Service:
    command = machine.program()
    version = machine.systemd_version() if kind in (Kind.SYSTEMD, Kind.SYSTEMD_USER) else None
    # An older systemd has no LoadCredential=: there the account must own its identities.
    uses_credentials = kind is Kind.SYSTEMD and not (run_as and version is not None and version < CREDENTIALS_SINCE)
    identities = _identities(settings, paths)
    credentials = [each for each in identities if _is_handed_over(each[1], run_as, encrypted=encrypted)]
    own_keys = [path for name, path in identities if run_as and (name, path) not in credentials]
    needed = [*machine.program_files(command), paths.config, *own_keys]
    return Service(
        program=command,
        config=paths.config,
        home=home,
        log=paths.log,
        environment=() if kind is Kind.SYSTEMD else _environment(run_as),
        credentials=tuple(credentials) if uses_credentials else (),
        encrypted=encrypted,
        run_as=run_as,
        sees_home=kind is Kind.SYSTEMD and run_as is not None and bool(reachability.in_homes(needed)),
        systemd_version=version,
    )


def _home(reader: Account | None) -> Path:
    return home_folder() if reader is None or reader.uid == os.geteuid() else reader.home


def _environment(run_as: str | None) -> tuple[tuple[str, str], ...]:
    home = os.environ.get("IOCONNECT_HOME")
    own = (("IOCONNECT_HOME", str(absolute(home))),) if home else ()
    return own if run_as else (*own, *machine.folder_variables())


def _identities(settings: Config, paths: Paths) -> list[tuple[str, Path]]:
    """Return the credential names and private keys of the agent and of each tunnel with its own identity."""
    agents = settings.agent.identity or paths.identity
    others = [(f"{CREDENTIAL}.{t.name}", t.identity) for t in settings.tunnels if t.identity is not None]
    needs_agents = not settings.tunnels or any(tunnel.identity is None for tunnel in settings.tunnels)
    return [*([(CREDENTIAL, agents)] if needs_agents else []), *others]


def _is_handed_over(identity: Path, run_as: str | None, *, encrypted: bool) -> bool:
    """Say whether systemd hands this key over, which it reads as root: one that the service's account cannot replace.

    Otherwise that account could put a link to any file of root's in its place, and read its own credential. It reads
    its own key itself. A dynamic user has no files; `_refuse_keys_of_others` refuses what another account has.
    """
    return run_as is None or custody_of(_key_file(identity, encrypted=encrypted)) is None


def _key_file(identity: Path, *, encrypted: bool) -> Path:
    return identity.with_name(identity.name + ".cred") if encrypted else identity


def _refuse_unreachable(kind: Kind, description: ServiceDescription, paths: Paths) -> None:
    service, reader = description.service, description.reader
    files = machine.program_files(service.program)
    if kind is Kind.SYSTEMD:
        reachability.refuse_hidden_program(files, sees_home=service.sees_home)
        reachability.refuse_hidden_configuration(paths.config, sees_home=service.sees_home)
    if kind is Kind.SYSTEMD and service.run_as is None:
        _refuse_what_others_may_change(paths, "it would get the keys of root that the service signs in with")
    elif service.run_as is not None and reader is not None and reader.uid == 0:
        _refuse_what_others_may_change(paths, "root would run it")
    if description.shared_files:
        _refuse_closed_program(service, reader)


def _refuse_closed_program(service: Service, reader: Account | None) -> None:
    """Raise SystemRefused, with all of it, for what the program consists of and the account may not read."""
    closed = machine.closed_program(service.program, reader)
    if not closed:
        return
    told = ", ".join(str(path) for path, _ in closed[:MAX_TOLD])
    more = f" and {len(closed) - MAX_TOLD} more" if len(closed) > MAX_TOLD else ""
    # An account that may change the program could have linked from it to what is closed with good reason.
    is_roots = not program.changeable(ROOT_ALONE)
    commands = [machine.opening_command(path, is_tree=is_tree) if is_roots else "" for path, is_tree in closed]
    mending = f"{' && '.join(filter(None, commands))}; or " if all(commands) else ""
    raise SystemRefused(
        f"{_account_text(reader)} may not read {told}{more}, which ioconnect needs to start",
        hint=f"To mend it: {mending}install for the machine, after `umask 022`: {reinstall()}",
    )


def _refuse_unreadable_identities(
    kind: Kind, description: ServiceDescription, settings: Config, paths: Paths
) -> None:
    service, reader = description.service, description.reader
    for name, identity in _identities(settings, paths):
        is_credential = (name, identity) in service.credentials
        file = _key_file(identity, encrypted=service.encrypted and is_credential)
        if service.encrypted and is_credential and not file.exists():
            raise IdentityMissing(
                f"there is no encrypted identity at {file}",
                hint=f"Make it: sudo systemd-creds encrypt --name={name} {shlex.join((str(identity), str(file)))}",
            )
        if not file.exists():
            raise IdentityMissing(f"there is no identity at {file}", hint="Make one with `ioconnect keygen`.")
        if is_credential:
            _refuse_key_of_others(file)
        reads_directly = not is_credential and reader is not None and service.run_as is not None
        if reads_directly and (closed := machine.unreadable_for(file, reader)) is not None:
            raise SystemRefused(
                f"{_account_text(reader)} may not read {closed}, and the {kind.value} service signs in with {file}",
                hint=machine.how_to_give(file, closed, service.run_as, paths.config),
            )


def _refuse_key_of_others(file: Path) -> None:
    """Raise SystemRefused for a key that systemd would read as root and another account could replace."""
    found = custody_of(file)
    if found is not None:
        raise SystemRefused(
            f"systemd would read {file} as root, and {found.description}: that account could have it read any file",
            hint=f"{found.remedy}, or use `--run-as ACCOUNT` with the key's owner.",
        )


def _refuse_what_others_may_change(paths: Paths, why: str) -> None:
    """Raise SystemRefused, with all of it, if another account could change the program, configuration or pins.

    The program is what `up` of root takes for it.
    """
    files = [(path, custody_of(path)) for path in (paths.config, paths.known_hosts)]
    found = [(each.path, each.description, each.remedy) for each in program.changeable(ROOT_ALONE)]
    found += [(path, each.description, each.remedy) for path, each in files if each is not None]
    if found:
        said = "; ".join(f"{description}, and {path} is part of this" for path, description, _ in found)
        remedies = "; ".join(dict.fromkeys(remedy for *_, remedy in found))
        raise SystemRefused(
            f"another account could change what the service runs or acts on, and {why}: {said}",
            hint=f"{remedies}, or use `--run-as ACCOUNT` with an account that owns configuration and key.",
        )


def _refuse_open_secrets(description: ServiceDescription, settings: Config) -> None:
    """Raise SystemRefused if a proxy's password would become readable for all accounts."""
    config, reader = description.service.config, description.reader
    if (
        description.shared_files
        and any(has_password(tunnel.proxy) for tunnel in settings.tunnels)
        and machine.unreadable_for(config, reader) is not None
    ):
        raise SystemRefused(
            f"{config} holds a proxy's password, and {_account_text(reader)} could read it only if everybody could",
            hint="Take the password out of the proxy's URL, or make an account for the service, give it the file "
            "(chown), and use `--run-as ACCOUNT`.",
        )


def _notes(kind: Kind, settings: Config, reader: Account | None) -> list[str]:
    notes = []
    proxy = machine.proxy_in_environment()
    if proxy and any(tunnel.proxy == "" for tunnel in settings.tunnels):
        notes.append(f"The service does not see {proxy}: if the jumphost needs it, write proxy = … for the tunnel.")
    if kind is Kind.SYSTEMD_USER and reader is not None and not machine.lingers(reader.name):
        notes.append(
            f"It runs only while {reader.name} is signed in. To have it start at boot and stay: "
            f"sudo loginctl enable-linger {reader.name}"
        )
    if kind is Kind.CRON and sys.platform == "linux" and not machine.is_cron_running():
        notes.append("No cron daemon seems to run here: start it, or nothing will read the crontab.")
    if kind is Kind.LAUNCHD_AGENT:
        notes.append("It runs only while you are signed in; the kind launchd-daemon runs from boot on.")
    if kind is Kind.LAUNCHD_DAEMON and (reader is None or reader.uid == 0):
        notes.append("It runs as root, which it does not need: an account of its own is better (--run-as).")
    return notes


def _account_text(reader: Account | None) -> str:
    return f"the account {reader.name}" if reader else "the service's own account"
