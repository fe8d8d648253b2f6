"""Which service is installed for an agent, as whom it runs, how it is started, and how root asks one of an account.

Changes nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.config.paths import home_folder, site_paths
from ioconnect.custody import processes
from ioconnect.custody.entries import Untrusted
from ioconnect.custody.files import read_regular
from ioconnect.errors import SystemRefused
from ioconnect.installers import cron_jobs, machine
from ioconnect.installers.apply import MAX_FILE
from ioconnect.installers.launchd import AGENTS, DAEMONS
from ioconnect.installers.programs import run
from ioconnect.installers.service import LABEL, UNIT_NAME, UNITS, Kind
from ioconnect.installers.service_manager import (
    ServiceManager,
    SystemAgent,
    launchd_pid,
    system_agent,
    unit_of,
    unit_properties,
    user_units,
)
from ioconnect.installers.systemd import quoted_argument
from ioconnect.status import snapshots

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ioconnect.config.paths import Paths

_UNIT_USER = re.compile(rb"^User=(\S+)$", re.MULTILINE)
QUERY_TIMEOUT = 3.0  # seconds for a query to systemd; without an answer the hint says less
ASK_TIMEOUT = 5.0  # seconds for `status` as another account: Python's start on a busy machine, and 2 s for the answer
ASK_INTERVAL = 5.0  # seconds between two of these: each starts a program
_answers: dict[AgentOfAccount, tuple[float, SystemAgent | None]] = {}  # until when each counts, and what it was


@dataclass(frozen=True, slots=True)
class AgentOfAccount:
    """The agent of another account that root has installed: its service, and the program, up to the subcommand.

    `file` is the unit, the property list, or the account's crontab. A systemd unit has a `program` too, but that
    agent answers root like one of its own.
    """

    account: str
    uid: int
    kind: Kind
    file: Path
    program: tuple[str, ...]
    variables: tuple[str, ...] = ()  # NAME=value

    def line(self, *arguments: str) -> str:
        """Return the line with which root runs a command of ioconnect for this agent."""
        return machine.as_account(self.account, (*self.program, *arguments), self.variables)

    @property
    def start(self) -> str:
        """What starts it, as a clause."""
        if self.kind is not Kind.CRON:
            return _start_command(self.kind, self.file)
        line = self.line("up", "--daemon")
        return f"cron starts it as {self.account} within five minutes; to start it at once: {line}"


def of_another_account(paths: Paths, environ: Mapping[str, str]) -> AgentOfAccount | None:
    """Return the agent that root has installed for another account, with the configuration of these paths.

    None for anybody but root, and for a dynamic user.
    """
    found = _installed_for(paths, environ) if os.geteuid() == 0 else []
    return next((each for each in found if each.uid != 0), None)


def _installed_for(paths: Paths, environ: Mapping[str, str]) -> list[AgentOfAccount]:
    """Return the agents of these paths that are installed to run as a named account, root included."""
    found = service_for(paths, environ)
    if found is None or not found[0].is_system:
        return [_of_job(job) for job in cron_jobs.of(paths.config)]
    kind, file = found
    name, program = _account_in(kind, file)
    uid = None if name is None else cron_jobs.uid_of(name)
    if name is None or uid is None:
        return []
    program = program or (*machine.program(), "--config", str(paths.config))
    return [AgentOfAccount(name, uid, kind, file, program, (f"HOME={_home(uid)}",))]


def _home(uid: int) -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(uid).pw_dir
    return "/"


def machines_agent(paths: Paths, environ: Mapping[str, str]) -> SystemAgent | None:
    """Return the agent that runs as a service of this machine, if these paths can refer to it.

    It is that of systemd, or for root that of the account for which it was installed.
    """
    found = system_agent(paths, environ)
    other = of_another_account(paths, environ) if found is None else None
    return found if other is None or other.kind is Kind.SYSTEMD else _asked(other)


def _asked(other: AgentOfAccount) -> SystemAgent | None:
    """Return what `_ask` does; what it returned less than `ASK_INTERVAL` ago, for a command that polls."""
    due, agent = _answers.get(other, (0.0, None))
    if time.monotonic() >= due:
        agent = _ask(other)
        _answers[other] = (time.monotonic() + ASK_INTERVAL, agent)
    return agent


def _ask(other: AgentOfAccount) -> SystemAgent | None:
    """Return what `status` says, run as the account; None if its agent does not run, or cannot be asked in time.

    The account may answer anything: the process must be its own, as root trusts the files of the agent's account.
    """
    argv = ("/usr/bin/env", "-i", *other.variables, *other.program, "status", "--json")
    with contextlib.suppress(SystemRefused, snapshots.StatusDamaged, ValueError, RecursionError):
        snapshot = snapshots.from_json(json.loads(run(argv, account=other.account, timeout=ASK_TIMEOUT).stdout))
        if snapshot.running and snapshot.pid and _is_of(other, snapshot.pid):
            manager = ServiceManager("cron", other.line("down"), "within five minutes")
            if other.kind is not Kind.CRON:
                stop = f"launchctl bootout system/{LABEL}"
                manager = ServiceManager(f"the {other.kind.value} {LABEL}", stop, "at once")
            return SystemAgent(snapshot.pid, other.account, replace(snapshot, account=other.uid), manager)
    return None


def _is_of(other: AgentOfAccount, pid: int) -> bool:
    """Whether launchd, for its job, or else /proc says that this process is the account's."""
    if other.kind is Kind.LAUNCHD_DAEMON:
        return launchd_pid("system") == pid
    return processes.owner(pid) == other.uid


def _of_job(job: cron_jobs.CronJob) -> AgentOfAccount:
    return AgentOfAccount(job.account, job.uid, Kind.CRON, job.table, job.program, job.variables)


def _account_in(kind: Kind, file: Path) -> tuple[str | None, tuple[str, ...]]:
    """Return the account that a unit or property list names, and the program of the latter."""
    try:
        content = read_regular(file, limit=MAX_FILE)[0]
    except (OSError, Untrusted):
        return None, ()
    if kind is Kind.SYSTEMD:
        name = _UNIT_USER.search(content)
        return (None if name is None else name[1].decode("utf-8", "replace")), ()
    import plistlib  # noqa: PLC0415  where there is a property list only: `status` comes this way

    with contextlib.suppress(Exception):  # plistlib raises what expat does, and more
        content_of = plistlib.loads(content)
        return content_of["UserName"], tuple(content_of["ProgramArguments"][:-2])
    return None, ()


def start_hint(paths: Paths, environ: Mapping[str, str]) -> str | None:
    """Return what starts the agent of these paths, if a service is installed for it; of cron's only root is told.

    An agent that `ioconnect up --daemon` starts beside a service has other rights, and its files would be in the
    service's way.
    """
    found = service_for(paths, environ)
    if found is None:
        other = of_another_account(paths, environ)
        return None if other is None else f"{other.start}; ask it: {other.line('status')}"
    kind, file = found
    if kind in (Kind.SYSTEMD, Kind.SYSTEMD_USER):
        return _systemd(kind, file)
    return f"its service {LABEL} is not running; start it: {_start_command(kind, file)}"


def start_command(paths: Paths, environ: Mapping[str, str]) -> str | None:
    """Return the command that starts the agent, if a service is installed for it; of cron's only root is told."""
    found = service_for(paths, environ)
    if found is not None:
        return _start_command(*found)
    other = of_another_account(paths, environ)
    return None if other is None else other.line("up", "--daemon")


def refuse_second_agent_of_root(paths: Paths, environ: Mapping[str, str]) -> None:
    """Raise SystemRefused for an agent that root starts by hand beside an installed service of the machine.

    Its files would be root's in the folders of the service's account, and keep the service from starting.
    """
    if os.geteuid() != 0:
        return
    found = service_for(paths, environ)
    if found is None or not found[0].is_system:
        _refuse_beside_cron(of_another_account(paths, environ))
        return
    kind, file = found
    if _is_started_by(kind):
        return
    raise SystemRefused(
        f"{file} is the service for this configuration, and an agent that root starts beside it would be in its way",
        hint=f"Start the service: {_start_command(kind, file)}. To have no service: ioconnect uninstall-service.",
    )


def _start_command(kind: Kind, file: Path) -> str:
    sudo = "sudo " if kind.is_system and os.geteuid() != 0 else ""
    if kind in (Kind.SYSTEMD, Kind.SYSTEMD_USER):
        return f"{sudo}systemctl{' --user' if kind is Kind.SYSTEMD_USER else ''} start {UNIT_NAME}"
    return f"{sudo}launchctl bootstrap {'system' if kind.is_system else f'gui/{os.getuid()}'} {file}"


def _refuse_beside_cron(other: AgentOfAccount | None) -> None:
    if other is not None:
        raise SystemRefused(
            f"{other.file} has the agent of this configuration run as {other.account}, "
            "and an agent that root starts beside it would be in its way",
            hint=f"cron starts it within five minutes; ask it: {other.line('status')}. To have no service: "
            f"ioconnect uninstall-service --kind cron --run-as {other.account}.",
        )


def account(paths: Paths, environ: Mapping[str, str]) -> int | None:
    """Return the uid of the account that the installed service for these paths runs as (`--run-as`); for root.

    None for a dynamic user, which owns no file, without a service, and for an account that is not there.
    """
    return next((each.uid for each in _installed_for(paths, environ)), None)


def _is_started_by(kind: Kind) -> bool:
    """Whether this process is the service's own."""
    if kind is Kind.LAUNCHD_DAEMON:
        return os.getppid() == 1
    with contextlib.suppress(OSError):
        return unit_of(Path("/proc/self/cgroup").read_text(errors="replace")) == (UNIT_NAME, Kind.SYSTEMD)
    return False


def service_for(paths: Paths, environ: Mapping[str, str]) -> tuple[Kind, Path] | None:
    """Return the kind and the file of the service of systemd or launchd that is installed for these paths."""
    home = home_folder()
    for kind, file in (
        (Kind.SYSTEMD, UNITS / UNIT_NAME),
        (Kind.SYSTEMD_USER, user_units(home) / UNIT_NAME),
        (Kind.LAUNCHD_DAEMON, DAEMONS / f"{LABEL}.plist"),
        (Kind.LAUNCHD_AGENT, home / AGENTS / f"{LABEL}.plist"),
    ):
        if _is_for(paths, file, kind, environ):
            return kind, file
    return None


def _is_for(paths: Paths, file: Path, kind: Kind, environ: Mapping[str, str]) -> bool:
    """Say whether the service runs with the configuration of these paths; the machine's is also for who has none."""
    try:
        text = read_regular(file, limit=MAX_FILE)[0].decode("utf-8", "replace")
    except (OSError, Untrusted):
        return False
    if any(written in text for written in (f" {quoted_argument(str(paths.config))} ", f">{paths.config}<")):
        return True
    has_own = environ.get("IOCONNECT_HOME") or paths.config.exists()
    return kind.is_system and not has_own and str(site_paths().config) in text


def _systemd(kind: Kind, file: Path) -> str:
    scope = " --user" if kind is Kind.SYSTEMD_USER else ""
    state = "is not running"
    with contextlib.suppress(SystemRefused):
        found = unit_properties(UNIT_NAME, kind, "ActiveState", timeout=QUERY_TIMEOUT)["ActiveState"]
        state = {"failed": "has failed", "activating": "is being restarted"}.get(found, state)
    return (
        f"its service {UNIT_NAME} {state}: systemctl{scope} status {UNIT_NAME} says why, "
        f"{_start_command(kind, file)} starts it"
    )
