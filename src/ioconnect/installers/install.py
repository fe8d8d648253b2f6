"""The steps of `install-service` and `uninstall-service`: describe the service, check it, then write and run."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.config.paths import discover, home_folder, site_paths
from ioconnect.errors import CannotCreate, SystemRefused, UsageFault
from ioconnect.escape import escaped
from ioconnect.installers import apply, cron_jobs, crontab, launchd, machine, systemd, user_crontab
from ioconnect.installers.file_modes import make_readable
from ioconnect.installers.service import LABEL, MARK, UNITS, Installation, Kind, Service
from ioconnect.installers.service_description import describe, refusal
from ioconnect.installers.service_manager import user_units
from ioconnect.status.observe import observe
from ioconnect.status.snapshots import StatusDamaged

if TYPE_CHECKING:
    from collections.abc import Callable

    from ioconnect.config.paths import Paths

    ConfirmReplace = Callable[[bytes | None, bytes, str], None]  # present content, new content, name

_PER_USER = (Kind.SYSTEMD_USER, Kind.LAUNCHD_AGENT)  # run as whoever installs them


@dataclass(frozen=True, slots=True)
class InstallResult:
    """The result: `text` is the file's content for `--print`, `messages` are lines for the user."""

    kind: Kind
    changed: bool
    text: str = ""
    messages: tuple[str, ...] = ()


class ServiceDiffers(CannotCreate):
    """Another service is installed than the one to be written; `diff` is a unified diff of the two."""

    def __init__(self, message: str, *, hint: str, diff: str) -> None:
        super().__init__(message, hint=hint)
        self.diff = diff


def install(
    kind: Kind | None = None,
    *,
    print_only: bool = False,
    start: bool = True,
    run_as: str | None = None,
    force: bool = False,
    encrypted: bool = False,
    config: Path | None = None,
    confirm: Callable[[str], bool] | None = None,
) -> InstallResult:
    """Install the agent as a service and start it; with `print_only` only return the file's text.

    `config` is the value of `--config`; IOCONNECT_HOME is read from the environment. If another service is installed,
    `confirm` is called with the diff; without it, or if it returns False, `ServiceDiffers` is raised, unless `force`.
    Raises also SystemRefused, CannotCreate, UsageFault and, before anything is written, ConfigInvalid.
    """
    kind = kind or machine.default_kind()
    if print_only:
        return _printed(kind, run_as=run_as, encrypted=encrypted, config=config)
    refuse_wrong_user(kind, run_as)
    _refuse_root(kind, run_as)
    description = describe(kind, run_as=run_as, encrypted=encrypted, config=config, print_only=False)
    service = description.service
    _refuse_beside_cron(kind, service)
    confirm_replace = _confirmation(force=force, confirm=confirm)
    installation = None if kind is Kind.CRON else _installation(kind, service)
    if installation is None:
        existing = crontab.block_in(user_crontab.read(run_as))
        confirm_replace(existing, crontab.block(service), "the crontab")
        if run_as is not None and start and existing is None:
            _refuse_second_agent(description.paths, but_of=machine.account(run_as).uid)
    else:
        _prepare(installation, confirm_replace, description.paths if start else None)
    with make_readable(description.shared_files, description.reader) as mode_messages:
        if installation is None:
            changed = cron_jobs.install(service, start=start)
        else:
            changed = apply.install_files(installation, start=start, account=service.run_as)
    messages = _messages(installation, kind, service, changed=changed, start=start)
    return InstallResult(kind, changed, messages=(*messages, *mode_messages, *description.notes))


def _printed(kind: Kind, *, run_as: str | None, encrypted: bool, config: Path | None) -> InstallResult:
    """Return the file's text, and as notes what `install` would be refused for."""
    notes = []
    try:
        refuse_wrong_user(kind, run_as)
        _refuse_root(kind, run_as)
    except (SystemRefused, UsageFault) as refused:
        notes.append(refusal(refused))
    may_not = os.geteuid() != 0 and (kind.is_system or run_as is not None)
    description = describe(
        kind, run_as=run_as, encrypted=encrypted, config=config, print_only=True, may_not_install=may_not
    )
    try:
        _refuse_beside_cron(kind, description.service)
    except SystemRefused as refused:
        notes.append(refusal(refused))
    text = _text(kind, description.service)
    return InstallResult(kind, changed=False, text=text, messages=(*notes, *description.notes))


def check(kind: Kind, *, run_as: str | None, config: Path | None) -> None:
    """Raise what `install` raises before it changes anything, but for an agent that runs."""
    refuse_wrong_user(kind, run_as)
    _refuse_root(kind, run_as)
    _refuse_beside_cron(kind, describe(kind, run_as=run_as, encrypted=False, config=config, print_only=False).service)


def _refuse_beside_cron(kind: Kind, service: Service) -> None:
    """Raise SystemRefused if root installs this beside a block of cron's that starts the same agent."""
    if os.geteuid() == 0:
        is_anothers = kind is Kind.CRON and service.run_as is not None and cron_jobs.uid_of(service.run_as) != 0
        replaced = service.run_as if kind is Kind.CRON else None
        cron_jobs.refuse_second(service.config, replaced=replaced, reads_own=is_anothers)


def uninstall(kind: Kind | None = None, *, run_as: str | None = None, config: Path | None = None) -> InstallResult:
    """Stop the service and remove what `install` wrote; a message if nothing is installed. Raises SystemRefused."""
    kind = kind or machine.default_kind()
    machine.check_account_name(run_as)
    refuse_wrong_user(kind, run_as)
    down = "ioconnect down"
    if kind is Kind.CRON:
        removed = user_crontab.edit(crontab.without_block, run_as)
        if run_as is not None:
            down = cron_jobs.down(run_as, discover(os.environ, config=config).config)
            cron_jobs.forget(run_as)
    else:
        removed = apply.remove(_installation(kind, _any_service()), is_ours=_is_ours)
    messages = [f"{_name(kind)} is {'removed' if removed else 'not installed'}."]
    if removed and kind is Kind.CRON:
        messages.append(f"An agent that it started goes on: {down} ends it.")
    return InstallResult(kind, removed, messages=tuple(messages))


def has_service(kind: Kind, run_as: str | None = None) -> bool:
    """Say whether a service of this kind is installed for this machine or this user. Raises SystemRefused.

    `run_as` is the account whose crontab is meant, if it is not this user's.
    """
    if kind is Kind.CRON:
        return crontab.block_in(user_crontab.read(run_as)) is not None
    return any(apply.current(file) is not None for file in _installation(kind, _any_service()).files)


def _any_service() -> Service:
    """Return a service with the file names and commands of any installed one."""
    return Service(
        program=("/ioconnect",),
        config=Path("/config.toml"),
        home=home_folder(),
        log=site_paths().log,
        systemd_version=machine.systemd_version(),
    )


def _is_ours(content: bytes) -> bool:
    return MARK.encode() in content or LABEL.encode() in content


def _installation(kind: Kind, service: Service) -> Installation:
    if kind is Kind.SYSTEMD:
        return systemd.installation(service, UNITS)
    if kind is Kind.SYSTEMD_USER:
        return systemd.installation(service, user_units(service.home), user=True)
    return launchd.installation(service, kind, os.getuid())


def _text(kind: Kind, service: Service) -> str:
    if kind is Kind.CRON:
        return crontab.block(service).decode()
    if kind in (Kind.SYSTEMD, Kind.SYSTEMD_USER):
        return systemd.unit(service, user=kind is Kind.SYSTEMD_USER)
    return launchd.plist(service, kind).decode()


def _prepare(installation: Installation, confirm_replace: ConfirmReplace, starting: Paths | None) -> None:
    """Raise ServiceDiffers for a file that may not be replaced, SystemRefused for an agent that runs already."""
    existing = [apply.current(file) for file in installation.files]
    for file, content in zip(installation.files, existing, strict=True):
        confirm_replace(content, file.content, str(file.path))
    if starting is not None and not any(existing):
        _refuse_second_agent(starting)


def _confirmation(*, force: bool, confirm: Callable[[str], bool] | None) -> ConfirmReplace:
    """Return a function that raises ServiceDiffers unless replacing the content is confirmed or changes nothing."""

    def ask(existing: bytes | None, new: bytes, name: str) -> None:
        if existing is None or existing == new or force:
            return
        before, after = (text.decode(errors="backslashreplace").splitlines() for text in (existing, new))
        lines = difflib.unified_diff(before, after, f"{name}, as it is", "as it would be", lineterm="")
        diff = "\n".join(escaped(line, limit=2000) for line in lines)
        if confirm is None or not confirm(diff):
            raise ServiceDiffers(
                f"{name} holds another ioconnect service already",
                hint="Use --force to replace it.",
                diff=diff,
            )

    return ask


def _refuse_second_agent(paths: Paths, *, but_of: int | None = None) -> None:
    """Raise SystemRefused if an agent runs that was started by hand, but one of the account (uid) `but_of`."""
    try:
        snapshot = observe(paths)
    except StatusDamaged:
        return
    if snapshot.running and (but_of is None or snapshot.account != but_of):
        raise SystemRefused(
            f"an agent runs already (pid {snapshot.pid}), and the service would be the second",
            hint="Stop it first: ioconnect down",
        )


def refuse_wrong_user(kind: Kind, run_as: str | None) -> None:
    """Raise SystemRefused or UsageFault if this user may not install such a service."""
    root = os.geteuid() == 0
    if kind.is_system and not root:
        other = Kind.SYSTEMD_USER if kind is Kind.SYSTEMD else Kind.LAUNCHD_AGENT
        raise SystemRefused(
            f"only root may install a service of the kind {kind.value}",
            hint=f"Use sudo with the full path of ioconnect, or `--kind {other.value}`.",
        )
    if run_as is not None and not root:
        raise SystemRefused("only root may install a service that runs as somebody else", hint="Use sudo.")
    if run_as is not None and kind in _PER_USER:
        raise UsageFault(
            f"a service of the kind {kind.value} runs as the user who installs it",
            hint="Leave --run-as out, or choose the kind of the machine's service.",
        )


def _refuse_root(kind: Kind, run_as: str | None) -> None:
    """Raise UsageFault for an agent that would run as root without anybody saying so."""
    if run_as is None and would_run_as_root(kind):
        account = "Name an account that owns configuration and key: --run-as ACCOUNT."
        if kind in _PER_USER:
            account = "Install it as the user that it shall run as, or leave --kind out for the machine's service."
        raise UsageFault(
            f"a service of the kind {kind.value} would run as root, which the agent does not need", hint=account
        )


def would_run_as_root(kind: Kind) -> bool:
    """Say whether a service of this kind, installed by this user, runs as root unless an account is named."""
    return kind is Kind.LAUNCHD_DAEMON or (kind is not Kind.SYSTEMD and os.geteuid() == 0)


def _messages(
    installation: Installation | None, kind: Kind, service: Service, *, changed: bool, start: bool
) -> list[str]:
    state = "installed" if changed else "installed already, nothing changed"
    later = "within five minutes" if kind is Kind.CRON else "at the next boot or sign-in"
    runs = "and runs" if start else f"and starts {later}"
    if installation is not None:
        look = f"{installation.status_command}; ioconnect status"
    elif service.run_as is None:
        look = "crontab -l; ioconnect status"
    else:
        variables = tuple(f"{name}={value}" for name, value in service.environment)
        status = machine.as_account(service.run_as, (*service.command, "status"), variables)
        look = f"crontab -u {service.run_as} -l; {status}"
    return [f"{_name(kind)} is {state}, {runs}.", f"Look at it: {look}"]


def _name(kind: Kind) -> str:
    return {
        Kind.SYSTEMD: "The service ioconnect.service",
        Kind.SYSTEMD_USER: "Your service ioconnect.service",
        Kind.CRON: "The block in the crontab",
        Kind.LAUNCHD_DAEMON: f"The daemon {LABEL}",
        Kind.LAUNCHD_AGENT: f"The agent {LABEL}",
    }[kind]
