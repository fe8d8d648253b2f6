"""launchd's property lists: a daemon for the machine, an agent for one user (launchd.plist(5), launchctl(1)).

Pure. Never run on a Mac by this project's tests: what is here is held against the manual pages.
"""

from __future__ import annotations

import plistlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.installers.service import LABEL, Command, File, Installation, Kind

if TYPE_CHECKING:
    from ioconnect.installers.service import Service

DAEMONS = Path("/Library/LaunchDaemons")
AGENTS = Path("Library/LaunchAgents")  # under the user's home
OPEN_FILES = 8192  # the default of 256 is fewer than one tunnel's connections

# launchctl error: 5 "Input/output error" and 37 "Operation already in progress" are what a bootstrap gets while
# the bootout before it is still at work; 3 "No such process" and 113 "Could not find service" mean it is gone.
BOOTSTRAP_RACES = (5, 37)
NOT_THERE = (3, 113)
BOOTOUT_PENDING = 36  # "Operation now in progress"
PATIENCE = 20.0  # seconds; ExitTimeOut is the longest that a bootout takes


def plist(service: Service, kind: Kind) -> bytes:
    """Return the property list of the daemon or the agent."""
    content: dict[str, object] = {
        "Label": LABEL,
        # In the foreground: a job that forks is one that has ended, to launchd (launchd.plist(5): it MUST NOT).
        "ProgramArguments": [*service.command, "up", "--log-to-file"],
        "KeepAlive": True,  # and so RunAtLoad; no condition: the agent ends only by fault or by our wish
        "ThrottleInterval": 10,
        "ExitTimeOut": 20,
        "ProcessType": "Standard",  # Background is slowed down in CPU and disk
        "WorkingDirectory": "/",
        "Umask": 0o077,  # plistlib writes integers in base ten, as launchd wants it
        "SoftResourceLimits": {"NumberOfFiles": OPEN_FILES},
        "HardResourceLimits": {"NumberOfFiles": OPEN_FILES, "Core": 0},
        # Only what Python says when it crashes: the log itself is the agent's, which rotates it.
        "StandardErrorPath": str(service.log.with_name("crash.log")),
        "StandardOutPath": "/dev/null",
    }
    if service.environment:
        content["EnvironmentVariables"] = dict(service.environment)
    if kind is Kind.LAUNCHD_DAEMON and service.run_as:
        content["UserName"] = service.run_as
    return plistlib.dumps(content, sort_keys=False)


def installation(service: Service, kind: Kind, uid: int) -> Installation:
    """Return the property list where launchd looks for it, and the commands that load and unload it."""
    daemon = kind is Kind.LAUNCHD_DAEMON
    domain = "system" if daemon else f"gui/{uid}"
    path = (DAEMONS if daemon else service.home / AGENTS) / f"{LABEL}.plist"
    target = f"{domain}/{LABEL}"
    # bootout may return before it is done; until then a bootstrap is refused.
    bootout = Command(
        ("launchctl", "bootout", target), tolerated=NOT_THERE, retried=(BOOTOUT_PENDING,), patience=PATIENCE
    )
    bootstrap = Command(
        ("launchctl", "bootstrap", domain, str(path)),
        retried=BOOTSTRAP_RACES,
        patience=PATIENCE,
        unless=("launchctl", "print", target),  # code 5 is also what a job gets that is there already
    )
    return Installation(
        kind=kind,
        files=(File(path, plist(service, kind)),),
        folders=(service.log.parent,),
        # `disable` is remembered across reinstallation, and bootstrap refuses a disabled job.
        enable=(Command(("launchctl", "enable", target)),),
        start=(bootstrap,),
        restart=(bootout, replace(bootstrap, unless=None)),
        disable=(bootout,),
        inspect=f"launchctl print {target}",
    )
