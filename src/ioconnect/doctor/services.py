"""Facts about the agent and its services on this machine."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from ioconnect.console.guide import with_guide_link
from ioconnect.doctor.facts import Fact, passed, skipped, warning
from ioconnect.errors import Fault, ReasonCode, SystemRefused
from ioconnect.installers import cron_jobs, installed, machine, reachability
from ioconnect.installers.install import has_service
from ioconnect.installers.service import LABEL, UNIT_NAME, Kind
from ioconnect.installers.service_manager import unit_properties
from ioconnect.status.hints import sentence
from ioconnect.status.observe import observe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ioconnect.config.configuration import Config
    from ioconnect.config.paths import Paths

QUERY_TIMEOUT = 5.0  # seconds for a query to systemd
_PROPERTIES = ("ActiveState", "SubState", "UnitFileState", "NRestarts")


def agent(paths: Paths, environ: Mapping[str, str]) -> Fact:
    """Check whether an agent runs."""
    try:
        snapshot = observe(paths)
        if snapshot.silence is not None:
            hint = with_guide_link(snapshot.silence.hint, ReasonCode.AGENT_SILENT)
            return warning("agent", f"pid {snapshot.pid} runs and {snapshot.silence}", hint)
        if snapshot.running:
            description = f"pid {snapshot.pid}, version {snapshot.version}"
            return passed("agent", f"running ({description}), since {snapshot.started_at}")
    except Fault as fault:
        return warning("agent", fault.message, fault.hint)
    system = installed.machines_agent(paths, environ)
    if system is not None:
        return passed("agent", f"running: {system.description}")
    start = installed.start_hint(paths, environ)
    hint = "Start it: ioconnect up --daemon, or ioconnect install-service." if start is None else sentence(start)
    return warning("agent", "not running", hint)


def services(paths: Paths) -> list[Fact]:
    """Return a fact for each installed kind of service, or one that none is installed."""
    installed_kinds = [kind for kind in _kinds() if _is_installed(kind)]
    jobs = [job for job in cron_jobs.of(paths.config) if job.uid != 0] if os.geteuid() == 0 else []
    found, names = [], [kind.value for kind in installed_kinds]
    for job in jobs:
        found.append(_cron(f"{job.table} has ioconnect's block for the account {job.account}"))
        names.insert(0, f"{Kind.CRON.value} for {job.account}")
    if not names:
        hint = "ioconnect install-service starts the agent with the machine and watches over it."
        return [warning("service", "none is installed: after a restart of the machine the tunnels stay down", hint)]
    found += [_state(kind) for kind in installed_kinds]
    if Kind.CRON in installed_kinds and os.geteuid() == 0 and not _is_roots_by_name(paths):
        hint = (
            "ioconnect uninstall-service --kind cron; ioconnect down; then install it for an account: "
            "ioconnect install-service --run-as ACCOUNT."
        )
        found.append(warning("service", "cron starts the agent as root, which it does not need", hint))
    if len(names) > 1:
        hint = "Two services start two agents: remove one (ioconnect uninstall-service --kind …)."
        found.append(warning("service", f"several are installed: {', '.join(names)}", hint))
    return found


def _is_roots_by_name(paths: Paths) -> bool:
    """Whether root was named as the account that runs it (`--run-as root`)."""
    return any(job.uid == 0 for job in cron_jobs.of(paths.config))


def sockets(config: Config) -> Fact:
    """Check whether the system's service sees the Unix sockets of databases."""
    hidden = reachability.hidden_sockets(config)
    if hidden and _is_installed(Kind.SYSTEMD):
        told = f"the system's service sees no home and temporary folders: {', '.join(hidden)}"
        return warning("sockets", told, reachability.MOVE_SOCKET)
    return passed("sockets", "no database's socket is hidden from the service")


def lingering() -> Fact:
    """Check whether this user's services run while the user is not logged in, if a user service is installed."""
    if not _is_installed(Kind.SYSTEMD_USER):
        return skipped("lingering", "matters to a systemd user service only, and none is installed")
    try:
        name = machine.account().name
    except Fault as fault:
        return skipped("lingering", f"cannot be told: {fault.message}")
    if machine.lingers(name):
        return passed("lingering", f"on for {name}: the user service runs from boot on")
    return warning(
        "lingering",
        f"off for {name}: the user service ends when {name} signs out",
        f"sudo loginctl enable-linger {name}",
    )


def _kinds() -> tuple[Kind, ...]:
    if sys.platform == "darwin":
        return (Kind.LAUNCHD_DAEMON, Kind.LAUNCHD_AGENT)
    return (Kind.SYSTEMD, Kind.SYSTEMD_USER, Kind.CRON)


def _is_installed(kind: Kind) -> bool:
    with contextlib.suppress(SystemRefused):  # such as no crontab command
        return has_service(kind)
    return False


def _state(kind: Kind) -> Fact:
    if kind is Kind.CRON:
        return _cron("the crontab has ioconnect's block")
    if kind in (Kind.LAUNCHD_DAEMON, Kind.LAUNCHD_AGENT):
        return passed("service", f"{kind.value} {LABEL} is installed")
    return _unit_state(kind)


def _cron(block: str) -> Fact:
    if machine.is_cron_running():
        return passed("service", f"cron: {block}, and a cron daemon runs")
    return warning("service", f"cron: {block}, but no cron daemon runs", "Start cron.")


def _unit_state(kind: Kind) -> Fact:
    try:
        shown = unit_properties(UNIT_NAME, kind, *_PROPERTIES, timeout=QUERY_TIMEOUT)
    except SystemRefused as fault:
        return warning("service", f"{kind.value}: {UNIT_NAME} is installed, but {fault.message}", fault.hint)
    active, enabled = shown["ActiveState"], shown.get("UnitFileState") or "unknown"
    state = f"{active} ({shown.get('SubState', '')}), {enabled}"
    detail = f"{kind.value}: {UNIT_NAME} is {state}, restarted {shown.get('NRestarts', '0')} times"
    if active in ("active", "activating", "reloading") and enabled != "disabled":
        return passed("service", detail)
    sudo = "" if kind is Kind.SYSTEMD_USER or os.geteuid() == 0 else "sudo "
    scope = " --user" if kind is Kind.SYSTEMD_USER else ""
    log_command = f"{sudo}journalctl{scope} -n 20 -u {UNIT_NAME}"
    return warning(
        "service", detail, f"{log_command} shows why; {sudo}systemctl{scope} enable --now {UNIT_NAME} starts it."
    )
