"""How the installed service of an agent that does not run is started, and who says why it ended.

Reads only.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.config.paths import home_folder, site_paths
from ioconnect.custody.entries import Untrusted
from ioconnect.custody.files import read_regular
from ioconnect.errors import SystemRefused
from ioconnect.installers import cron_jobs
from ioconnect.installers.apply import MAX_FILE
from ioconnect.installers.install import user_units
from ioconnect.installers.launchd import AGENTS, DAEMONS
from ioconnect.installers.service import LABEL, UNIT_NAME, UNITS, Kind
from ioconnect.installers.service_manager import unit_of, unit_properties
from ioconnect.installers.systemd import quoted_argument

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ioconnect.config.paths import Paths

_UNIT_USER = re.compile(rb"^User=(\S+)$", re.MULTILINE)
_PLIST_USER = re.compile(rb"<key>UserName</key>\s{0,99}<string>([^<]{1,256})<")
QUERY_TIMEOUT = 3.0  # seconds for a query to systemd; without an answer the hint says less


def start_hint(paths: Paths, environ: Mapping[str, str]) -> str | None:
    """Return what starts the agent of these paths, if a service of systemd or launchd is installed for it.

    An agent that `ioconnect up --daemon` starts beside a service has other rights, and its files would be in the
    service's way.
    """
    found = service_for(paths, environ)
    if found is None:
        return None
    kind, file = found
    return _systemd(kind) if kind in (Kind.SYSTEMD, Kind.SYSTEMD_USER) else _launchd(kind, file)


def refuse_second_agent_of_root(paths: Paths, environ: Mapping[str, str]) -> None:
    """Raise SystemRefused for an agent that root starts by hand beside an installed service of the machine.

    Its files would be root's in the folders of the service's account, and keep the service from starting.
    """
    if os.geteuid() != 0:
        return
    found = service_for(paths, environ)
    if found is None or not found[0].is_system:
        _refuse_beside_cron(paths)
        return
    kind, file = found
    if _is_started_by(kind):
        return
    start = f"systemctl start {UNIT_NAME}" if kind is Kind.SYSTEMD else f"launchctl bootstrap system {file}"
    raise SystemRefused(
        f"{file} is the service for this configuration, and an agent that root starts beside it would be in its way",
        hint=f"Start the service: {start}. To have no service: ioconnect uninstall-service.",
    )


def _refuse_beside_cron(paths: Paths) -> None:
    for job in cron_jobs.of(paths.config):
        if job.uid == 0:
            continue
        raise SystemRefused(
            f"{job.table} has the agent of this configuration run as {job.account}, "
            "and an agent that root starts beside it would be in its way",
            hint="cron starts it within five minutes. To have no service: "
            f"ioconnect uninstall-service --kind cron --run-as {job.account}.",
        )


def account(paths: Paths, environ: Mapping[str, str]) -> int | None:
    """Return the uid of the account that the installed service for these paths runs as (`--run-as`); for root.

    None for a dynamic user, which owns no file, without a service, and for an account that is not there.
    """
    found = service_for(paths, environ)
    if found is None or not found[0].is_system:
        return next((job.uid for job in cron_jobs.of(paths.config)), None)
    kind, file = found
    try:
        content = read_regular(file, limit=MAX_FILE)[0]
    except (OSError, Untrusted):
        return None
    name = (_UNIT_USER if kind is Kind.SYSTEMD else _PLIST_USER).search(content)
    return None if name is None else cron_jobs.uid_of(name[1].decode("utf-8", "replace"))


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


def _systemd(kind: Kind) -> str:
    scope = " --user" if kind is Kind.SYSTEMD_USER else ""
    sudo = "" if scope or os.geteuid() == 0 else "sudo "
    state = "is not running"
    with contextlib.suppress(SystemRefused):
        found = unit_properties(UNIT_NAME, kind, "ActiveState", timeout=QUERY_TIMEOUT)["ActiveState"]
        state = {"failed": "has failed", "activating": "is being restarted"}.get(found, state)
    return (
        f"its service {UNIT_NAME} {state}: systemctl{scope} status {UNIT_NAME} says why, "
        f"{sudo}systemctl{scope} start {UNIT_NAME} starts it"
    )


def _launchd(kind: Kind, file: Path) -> str:
    domain, sudo = ("system", "sudo ") if kind is Kind.LAUNCHD_DAEMON else (f"gui/{os.getuid()}", "")
    return f"its service {LABEL} is not running; start it: {sudo}launchctl bootstrap {domain} {file}"
