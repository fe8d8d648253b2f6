"""launchd property lists: a daemon for the machine, an agent for one user (launchd.plist(5), launchctl(1)).

Pure. This project's tests do not run on macOS: the lists follow the manual pages.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.installers.service import LABEL, Command, File, Installation, Kind

if TYPE_CHECKING:
    from ioconnect.installers.service import Service

DAEMONS = Path("/Library/LaunchDaemons")
AGENTS = Path("Library/LaunchAgents")  # under the user's home
OPEN_FILES = 8192  # the default of 256 is fewer than one tunnel's connections

# launchctl error: a bootstrap fails with 5 "Input/output error" or 37 "Operation already in progress" while the
# previous bootout is in progress; 3 "No such process" and 113 "Could not find service": it is not loaded.
BOOTSTRAP_RACES = (5, 37)
NOT_FOUND = (3, 113)
BOOTOUT_PENDING = 36  # "Operation now in progress"
BOOTOUT_TIMEOUT = 20.0  # seconds; ExitTimeOut is the longest that a bootout takes


def plist(service: Service, kind: Kind) -> bytes:
    """Return the property list of the daemon or the agent."""
    content: dict[str, object] = {
        "Label": LABEL,
        # In the foreground: launchd takes a job that forks for one that has ended (launchd.plist(5): MUST NOT).
        "ProgramArguments": [*service.command, "up", "--log-to-file"],
        "KeepAlive": True,  # implies RunAtLoad; no condition: the agent does not exit by itself
        "ThrottleInterval": 10,
        "ExitTimeOut": 20,
        "ProcessType": "Standard",  # Background is throttled in CPU and disk
        "WorkingDirectory": "/",
        "Umask": 0o077,  # plistlib writes decimal integers, as launchd requires
        "SoftResourceLimits": {"NumberOfFiles": OPEN_FILES},
        "HardResourceLimits": {"NumberOfFiles": OPEN_FILES, "Core": 0},
        # Tracebacks of a crash only: the agent writes and rotates its log itself.
        "StandardErrorPath": str(service.log.with_name("crash.log")),
        "StandardOutPath": "/dev/null",
    }
    if service.environment:
        content["EnvironmentVariables"] = dict(service.environment)
    if kind is Kind.LAUNCHD_DAEMON and service.run_as:
        content["UserName"] = service.run_as
    import plistlib  # noqa: PLC0415  where launchd is only: `status` imports this file

    return plistlib.dumps(content, sort_keys=False)


def installation(service: Service, kind: Kind, uid: int) -> Installation:
    """Return the property list, its path, and the commands that load and unload it."""
    daemon = kind is Kind.LAUNCHD_DAEMON
    domain = "system" if daemon else f"gui/{uid}"
    path = (DAEMONS if daemon else service.home / AGENTS) / f"{LABEL}.plist"
    target = f"{domain}/{LABEL}"
    # bootout may return before it has finished; until then bootstrap fails.
    bootout = Command(
        ("launchctl", "bootout", target),
        accepted_codes=NOT_FOUND,
        retried_codes=(BOOTOUT_PENDING,),
        retry_seconds=BOOTOUT_TIMEOUT,
    )
    bootstrap = Command(
        ("launchctl", "bootstrap", domain, str(path)),
        retried_codes=BOOTSTRAP_RACES,
        retry_seconds=BOOTOUT_TIMEOUT,
        skip_if=("launchctl", "print", target),  # bootstrap fails with 5 also for a job that is loaded
    )
    return Installation(
        kind=kind,
        files=(File(path, plist(service, kind)),),
        folders=(service.log.parent,),
        # `disable` is remembered across reinstallation, and bootstrap refuses a disabled job.
        enable=(Command(("launchctl", "enable", target)),),
        start=(bootstrap,),
        restart=(bootout, replace(bootstrap, skip_if=None)),
        disable=(bootout,),
        status_command=f"launchctl print {target}",
    )
