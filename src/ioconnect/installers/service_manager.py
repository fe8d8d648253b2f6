"""Finds the service manager of a running agent, and the agent of the system service.

Reads only. Works for users who may neither signal that agent nor read its files.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.config.paths import SITE_STATUS, Paths, site_paths
from ioconnect.errors import AgentNotRunning, SystemRefused
from ioconnect.installers import crontab, user_crontab
from ioconnect.installers.launchd import DAEMONS
from ioconnect.installers.programs import run
from ioconnect.installers.service import LABEL, UNIT_NAME, UNITS, USER_UNITS, Kind
from ioconnect.status import control, snapshots
from ioconnect.status.observe import ask, last_written
from ioconnect.status.records import Silence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ioconnect.status.snapshots import Snapshot

_USER_UNIT = re.compile(r"/user@\d+\.service/(?:.*/)?([^/\n]+\.service)$", re.MULTILINE)
_SYSTEM_UNIT = re.compile(r":/system\.slice/(?:.*/)?([^/\n]+\.service)$", re.MULTILINE)
_RUNS_UP = re.compile(r"\bargv\[\]=[^;]*\bioconnect\b[^;]*\sup\b")  # in systemctl show, ExecStart
QUERY_TIMEOUT = 10.0  # seconds for a query to systemd, launchd or cron


@dataclass(frozen=True, slots=True)
class ServiceManager:
    """What restarts an agent that ends, and the command that stops both.

    `stop_argv` is that command where one stops the service until it is started again, and leaves it installed.
    """

    name: str
    stop: str
    restart_delay: str  # as text
    stop_argv: tuple[str, ...] = ()
    needs_root: bool = False


@dataclass(frozen=True, slots=True)
class SystemAgent:
    """The agent of the system service: its account, and its world-readable snapshot."""

    pid: int
    account: str
    snapshot: Snapshot
    manager: ServiceManager

    @property
    def description(self) -> str:
        """The agent as text."""
        return f"the machine's agent (pid {self.pid}, account {self.account}, {self.manager.name})"


def unit_of(cgroup: str) -> tuple[str, Kind] | None:
    """Return the unit in /proc/PID/cgroup and the kind of its manager; None if it is no service."""
    for pattern, kind in ((_USER_UNIT, Kind.SYSTEMD_USER), (_SYSTEM_UNIT, Kind.SYSTEMD)):
        found = pattern.search(cgroup)
        if found:
            return found.group(1), kind
    return None


def manager_of(pid: int) -> ServiceManager | None:
    """Return the service manager of the agent with this pid; None if it was started by hand.

    A unit counts if it is the installer's or runs `ioconnect up`, and the process is its main one.
    """
    with contextlib.suppress(OSError, SystemRefused):
        found = unit_of(Path(f"/proc/{pid}/cgroup").read_text(errors="replace"))
        if found is not None:
            shown = unit_properties(*found, "MainPID", "ExecStart")
            is_ours = found[0] == UNIT_NAME or _RUNS_UP.search(shown.get("ExecStart", ""))
            if is_ours and shown["MainPID"] == str(pid):
                return _systemd_manager(*found)
    with contextlib.suppress(SystemRefused):
        for kind, domain in ((Kind.LAUNCHD_DAEMON, "system"), (Kind.LAUNCHD_AGENT, f"gui/{os.getuid()}")):
            if launchd_pid(domain) == pid:
                sudo = "sudo " if kind is Kind.LAUNCHD_DAEMON else ""
                return ServiceManager(
                    f"the {kind.value} {LABEL}", f"{sudo}launchctl bootout {domain}/{LABEL}", "at once"
                )
    with contextlib.suppress(SystemRefused):
        if crontab.block_in(user_crontab.read()) is not None:
            return ServiceManager("cron", "ioconnect uninstall-service --kind cron", "within five minutes")
    return None


def system_agent(paths: Paths, environ: Mapping[str, str]) -> SystemAgent | None:
    """Return the agent of the system service, if these paths can refer to it.

    None with an IOCONNECT_HOME or a configuration of the user's own, and if it does not run or has no runtime folder.
    """
    own = environ.get("IOCONNECT_HOME") or (paths.config.exists() and paths.config != site_paths().config)
    if own or not SITE_STATUS.parent.is_dir():  # it is there while the service runs
        return None
    with contextlib.suppress(SystemRefused, snapshots.StatusDamaged):
        pid = int(unit_properties(UNIT_NAME, Kind.SYSTEMD, "MainPID")["MainPID"])
        snapshot = _answer_of_system_agent(pid)
        if pid and snapshot.pid == pid:
            return SystemAgent(pid, _account_of(pid), snapshot, _systemd_manager(UNIT_NAME, Kind.SYSTEMD))
    return None


def _answer_of_system_agent(pid: int) -> Snapshot:
    """Return what the agent of the system service answers; if it does not, what it wrote last, as that."""
    try:
        return ask(site_paths())
    except control.AgentSilent as fault:
        silence = fault.silence
    except (AgentNotRunning, SystemRefused):  # nothing answered; only root may read its lock
        silence = Silence.of_socket("its control socket cannot be used", "")
    return replace(last_written(SITE_STATUS, pid), silence=silence)


def system_log_hint() -> str:
    """Return a sentence about the log of the system service, "" if there is none."""
    is_unit_installed = (UNITS / UNIT_NAME).exists()
    return " The machine's service logs to the journal: journalctl -u ioconnect" if is_unit_installed else ""


def _systemd_manager(unit: str, kind: Kind) -> ServiceManager:
    is_users = kind is Kind.SYSTEMD_USER
    argv = ("systemctl", *(("--user",) if is_users else ()), "stop", "--", unit)
    stop = f"systemctl --user stop {unit}" if is_users else f"sudo systemctl stop {unit}"
    owner = "the user's" if is_users else "the system's"
    return ServiceManager(f"{owner} service {unit}", stop, "in a few seconds", argv, needs_root=not is_users)


def unit_properties(unit: str, kind: Kind, *names: str, timeout: float = QUERY_TIMEOUT) -> dict[str, str]:
    """Return properties of the unit (systemctl(1), show); needs no privileges. Raises SystemRefused."""
    scope = ("--user",) if kind is Kind.SYSTEMD_USER else ()
    result = run(("systemctl", *scope, "show", f"--property={','.join(names)}", "--", unit), timeout=timeout)
    found = dict(re.findall(r"^(\w+)=(.*)$", result.stdout.decode("utf-8", "replace"), re.MULTILINE))
    if names[0] not in found:
        raise SystemRefused(
            f"systemd does not answer ({result.error_text})",
            hint="Is this machine's systemd running, and for a user service: is the user signed in?",
        )
    return found


def launchd_pid(domain: str) -> int:
    """Return the job's pid, 0 if it has none (launchctl(1), print: `pid = N`)."""
    if not DAEMONS.is_dir():
        return 0
    printed = run(("launchctl", "print", f"{domain}/{LABEL}"), timeout=QUERY_TIMEOUT)
    found = re.search(rb"^[ \t]*pid = (\d+)$", printed.stdout, re.MULTILINE)
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


def user_units(home: Path) -> Path:
    """Return the folder of the units of the user with this home."""
    configured = os.environ.get("XDG_CONFIG_HOME")
    return Path(configured, "systemd/user") if configured else home / USER_UNITS
