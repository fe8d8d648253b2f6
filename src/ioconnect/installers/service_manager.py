"""Whose an agent is: what started it and will start it again, and the machine's agent as others see it.

Looks, and changes nothing. Works for users who may not send that agent a signal or read its files.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.config import paths as places
from ioconnect.errors import SystemRefused
from ioconnect.installers import crontab, user_crontab
from ioconnect.installers.apply import run
from ioconnect.installers.launchd import DAEMONS
from ioconnect.installers.service import LABEL, UNIT_NAME, UNITS, Kind
from ioconnect.status import snapshots

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ioconnect.config.paths import Paths
    from ioconnect.status.snapshots import Snapshot

_USER_UNIT = re.compile(r"/user@\d+\.service/(?:.*/)?([^/\n]+\.service)$", re.MULTILINE)
_SYSTEM_UNIT = re.compile(r":/system\.slice/(?:.*/)?([^/\n]+\.service)$", re.MULTILINE)
QUICK = 10.0  # seconds for a question to systemd, launchd or cron


@dataclass(frozen=True, slots=True)
class Supervisor:
    """What starts an agent again when it ends, and the command that stops both for good."""

    name: str
    stop: str
    again: str  # when it does so


@dataclass(frozen=True, slots=True)
class MachinesAgent:
    """The agent of the machine's service: `account` runs it, `snapshot` is what it shows to everybody."""

    pid: int
    account: str
    snapshot: Snapshot
    supervisor: Supervisor

    @property
    def whose(self) -> str:
        """Say whose agent it is."""
        return f"the machine's agent (pid {self.pid}, account {self.account}, {self.supervisor.name})"


def unit_of(cgroup: str) -> tuple[str, Kind] | None:
    """Return the unit that /proc/PID/cgroup names, and whose manager's it is; None outside of every service."""
    for pattern, kind in ((_USER_UNIT, Kind.SYSTEMD_USER), (_SYSTEM_UNIT, Kind.SYSTEMD)):
        found = pattern.search(cgroup)
        if found:
            return found.group(1), kind
    return None


def supervisor_of(pid: int) -> Supervisor | None:
    """Return what watches over the agent with this pid; None if it was started by hand."""
    with contextlib.suppress(OSError):
        found = unit_of(Path(f"/proc/{pid}/cgroup").read_text())
        if found is not None and _main_pid(*found) == pid:
            return _by_systemd(*found)
    with contextlib.suppress(SystemRefused):
        for kind, domain in ((Kind.LAUNCHD_DAEMON, "system"), (Kind.LAUNCHD_AGENT, f"gui/{os.getuid()}")):
            if _launchd_pid(domain) == pid:
                sudo = "sudo " if kind is Kind.LAUNCHD_DAEMON else ""
                return Supervisor(f"the {kind.value} {LABEL}", f"{sudo}launchctl bootout {domain}/{LABEL}", "at once")
    with contextlib.suppress(SystemRefused):
        if crontab.block_in(user_crontab.read()) is not None:
            return Supervisor("cron", "ioconnect uninstall-service --kind cron", "within five minutes")
    return None


def machines_agent(paths: Paths, environ: Mapping[str, str]) -> MachinesAgent | None:
    """Return the agent of the machine's service, if that is what somebody with these paths can mean.

    Not with an IOCONNECT_HOME or a configuration of one's own; nor if none runs, or if it shows nothing.
    """
    own = environ.get("IOCONNECT_HOME") or (paths.config.exists() and paths.config != places.site().config)
    if own or not places.SITE_STATUS.exists():
        return None
    with contextlib.suppress(SystemRefused, snapshots.StatusDamaged):
        pid = _main_pid(UNIT_NAME, Kind.SYSTEMD)
        snapshot = snapshots.read(places.SITE_STATUS)
        if pid and snapshot is not None and snapshot.pid == pid:
            supervisor = _by_systemd(UNIT_NAME, Kind.SYSTEMD)
            return MachinesAgent(pid, _account_of(pid), replace(snapshot, running=True), supervisor)
    return None


def machines_log() -> str:
    """Return a sentence about where the machine's service logs, "" if there is none."""
    there = (UNITS / UNIT_NAME).exists()
    return " The machine's service logs to the journal: journalctl -u ioconnect" if there else ""


def _by_systemd(unit: str, kind: Kind) -> Supervisor:
    stop = f"systemctl --user stop {unit}" if kind is Kind.SYSTEMD_USER else f"sudo systemctl stop {unit}"
    owner = "the user's" if kind is Kind.SYSTEMD_USER else "the system's"
    return Supervisor(f"{owner} service {unit}", stop, "in a few seconds")


def _main_pid(unit: str, kind: Kind) -> int:
    """Return the unit's main process, 0 if it has none; everybody may ask."""
    manager = ("--user",) if kind is Kind.SYSTEMD_USER else ()
    said = run(("systemctl", *manager, "show", unit, "--property=MainPID"), deadline=QUICK).out
    found = re.search(rb"^MainPID=(\d+)$", said, re.MULTILINE)
    return int(found.group(1)) if found else 0


def _launchd_pid(domain: str) -> int:
    """Return the job's process, 0 if it has none (launchctl(1), print: `pid = N`)."""
    if not DAEMONS.is_dir():
        return 0
    printed = run(("launchctl", "print", f"{domain}/{LABEL}"), deadline=QUICK)
    found = re.search(rb"^\s*pid = (\d+)$", printed.out, re.MULTILINE)
    return int(found.group(1)) if found else 0


def _account_of(pid: int) -> str:
    try:
        uid = Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return "unknown"
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a dynamic user, on a machine without nss-systemd
        return f"uid {uid}"
