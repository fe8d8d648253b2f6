"""What keeps the agent running on this machine, and whether it does."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from typing import TYPE_CHECKING

from ioconnect.doctor.facts import Fact, fine, moot, odd
from ioconnect.errors import Fault, SystemRefused
from ioconnect.installers import machine
from ioconnect.installers.apply import run
from ioconnect.installers.install import installed
from ioconnect.installers.service import LABEL, UNIT_NAME, Kind
from ioconnect.installers.service_manager import system_agent
from ioconnect.status.observe import observe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ioconnect.config.paths import Paths

QUICK = 5.0  # seconds for a question to systemd
_SHOWN = ("ActiveState", "SubState", "UnitFileState", "NRestarts")


def agent(paths: Paths, environ: Mapping[str, str]) -> Fact:
    """Say whether an agent runs."""
    try:
        snapshot = observe(paths)
        if snapshot.running:
            description = f"pid {snapshot.pid}, version {snapshot.version}"
            return fine("agent", f"running ({description}), since {snapshot.started_at}")
    except Fault as fault:
        return odd("agent", fault.message, fault.hint)
    system = system_agent(paths, environ)
    if system is not None:
        return fine("agent", f"running: {system.description}")
    return odd("agent", "not running", "Start it: ioconnect up --daemon, or ioconnect install-service.")


def services() -> list[Fact]:
    """Return a fact for each kind of service that is installed; one that says that there is none."""
    there = [kind for kind in _kinds() if _is_installed(kind)]
    if not there:
        hint = "ioconnect install-service starts the agent with the machine and watches over it."
        return [odd("service", "none is installed: after a restart of the machine the tunnels stay down", hint)]
    found = [_state(kind) for kind in there]
    if len(there) > 1:
        names = ", ".join(kind.value for kind in there)
        hint = "Two services start two agents: remove one (ioconnect uninstall-service --kind …)."
        found.append(odd("service", f"several are installed: {names}", hint))
    return found


def lingering() -> Fact:
    """Say whether this user's services run while the user is not signed in, if that matters."""
    if not _is_installed(Kind.SYSTEMD_USER):
        return moot("lingering", "matters to a systemd user service only, and none is installed")
    try:
        name = machine.account().name
    except Fault as fault:
        return moot("lingering", f"cannot be told: {fault.message}")
    if machine.lingers(name):
        return fine("lingering", f"on for {name}: the user service runs from boot on")
    return odd(
        "lingering",
        f"off for {name}: the user service ends when {name} signs out",
        f"sudo loginctl enable-linger {name}",
    )


def _kinds() -> tuple[Kind, ...]:
    if sys.platform == "darwin":
        return (Kind.LAUNCHD_DAEMON, Kind.LAUNCHD_AGENT)
    return (Kind.SYSTEMD, Kind.SYSTEMD_USER, Kind.CRON)


def _is_installed(kind: Kind) -> bool:
    with contextlib.suppress(SystemRefused):  # no crontab command here, say: then nothing is in it
        return installed(kind)
    return False


def _state(kind: Kind) -> Fact:
    if kind is Kind.CRON:
        if machine.is_cron_running():
            return fine("service", "cron: the crontab has ioconnect's block, and a cron daemon runs")
        return odd("service", "cron: the crontab has ioconnect's block, but no cron daemon runs", "Start cron.")
    if kind in (Kind.LAUNCHD_DAEMON, Kind.LAUNCHD_AGENT):
        return fine("service", f"{kind.value} {LABEL} is installed")
    return _unit_state(kind)


def _unit_state(kind: Kind) -> Fact:
    manager = ("--user",) if kind is Kind.SYSTEMD_USER else ()
    try:
        output = run(("systemctl", *manager, "show", UNIT_NAME, f"--property={','.join(_SHOWN)}"), timeout=QUICK)
    except SystemRefused as fault:
        return odd("service", f"{kind.value}: {UNIT_NAME} is installed, but {fault.message}", fault.hint)
    told = dict(re.findall(r"^(\w+)=(.*)$", output.stdout.decode("utf-8", "replace"), re.MULTILINE))
    if "ActiveState" not in told:
        return odd(
            "service",
            f"{kind.value}: {UNIT_NAME} is installed, but systemd does not answer ({output.error_text})",
            "Is this machine's systemd running, and for a user service: is the user signed in?",
        )
    state = f"{told['ActiveState']} ({told.get('SubState', '')}), {told.get('UnitFileState') or 'unknown'}"
    detail = f"{kind.value}: {UNIT_NAME} is {state}, restarted {told.get('NRestarts', '0')} times"
    if told["ActiveState"] in ("active", "activating", "reloading") and told.get("UnitFileState") != "disabled":
        return fine("service", detail)
    sudo = "" if manager or os.geteuid() == 0 else "sudo "
    look = " ".join(("journalctl", *manager, "-n", "20", "-u", UNIT_NAME))
    begin = " ".join(("systemctl", *manager, "enable", "--now", UNIT_NAME))
    return odd("service", detail, f"{sudo}{look} shows why; {sudo}{begin} starts it.")
