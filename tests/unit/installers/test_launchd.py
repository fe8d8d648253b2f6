"""launchd's property lists and commands, held against launchd.plist(5) and launchctl(1); never run on a Mac."""

from __future__ import annotations

import plistlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ioconnect.installers import launchd
from ioconnect.installers.service import Kind, Service

PLAIN = Service(
    program=("/opt/ioconnect/bin/ioconnect",),
    config=Path("/etc/ioconnect/config.toml"),
    home=Path("/Users/alice"),
    log=Path("/var/log/ioconnect/ioconnect.log"),
)
# Every key that we write, and its type, as launchd.plist(5) has them.
KEYS = {
    "Label": str,
    "ProgramArguments": list,
    "KeepAlive": bool,
    "ThrottleInterval": int,
    "ExitTimeOut": int,
    "ProcessType": str,
    "WorkingDirectory": str,
    "Umask": int,
    "SoftResourceLimits": dict,
    "HardResourceLimits": dict,
    "StandardErrorPath": str,
    "StandardOutPath": str,
    "EnvironmentVariables": dict,
    "UserName": str,
}
BOTH = [Kind.LAUNCHD_DAEMON, Kind.LAUNCHD_AGENT]


def written(kind: Kind, **changes: Any) -> dict[str, Any]:
    parsed: dict[str, Any] = plistlib.loads(launchd.plist(replace(PLAIN, **changes), kind))
    return parsed


@pytest.mark.parametrize("kind", BOTH)
def test_every_key_is_one_that_launchd_knows(kind: Kind) -> None:
    keys = written(kind, run_as="svc", environment=(("IOCONNECT_HOME", "/x"),))

    assert {name: type(value) for name, value in keys.items()} == {
        name: kind_of for name, kind_of in KEYS.items() if name in keys
    }


@pytest.mark.parametrize("kind", BOTH)
def test_it_stays_in_the_foreground_and_logs_for_itself(kind: Kind) -> None:
    """A job must not fork; and what launchd opens for it, nobody rotates."""
    keys = written(kind)

    assert keys["ProgramArguments"][-2:] == ["up", "--log-to-file"]
    assert "--daemon" not in keys["ProgramArguments"]
    assert keys["KeepAlive"] is True
    assert keys["StandardErrorPath"].endswith("/crash.log")
    assert keys["SoftResourceLimits"]["NumberOfFiles"] > 256


def test_only_the_daemon_runs_as_somebody() -> None:
    assert written(Kind.LAUNCHD_DAEMON, run_as="svc")["UserName"] == "svc"
    assert "UserName" not in written(Kind.LAUNCHD_AGENT, run_as="svc")


@pytest.mark.parametrize(
    ("kind", "domain", "path"),
    [
        (Kind.LAUNCHD_DAEMON, "system", "/Library/LaunchDaemons/com.ioconnect.agent.plist"),
        (Kind.LAUNCHD_AGENT, "gui/501", "/Users/alice/Library/LaunchAgents/com.ioconnect.agent.plist"),
    ],
)
def test_the_commands_are_those_of_launchctl(kind: Kind, domain: str, path: str) -> None:
    found = launchd.installation(PLAIN, kind, 501)
    target = f"{domain}/com.ioconnect.agent"

    assert [str(file.path) for file in found.files] == [path]
    assert [file.mode for file in found.files] == [0o644]
    assert [command.argv for command in found.enable] == [("launchctl", "enable", target)]
    assert [command.argv for command in found.start] == [("launchctl", "bootstrap", domain, path)]
    assert [command.argv for command in found.restart] == [
        ("launchctl", "bootout", target),
        ("launchctl", "bootstrap", domain, path),
    ]
    assert [command.argv for command in found.disable] == [("launchctl", "bootout", target)]


def test_its_known_races_are_met() -> None:
    """Bootstrap fails with 5 or 37 while a bootout is still at work; bootout of what is not there is fine."""
    found = launchd.installation(PLAIN, Kind.LAUNCHD_DAEMON, 0)
    bootout, bootstrap = found.restart

    assert bootstrap.retried_codes == (5, 37)
    assert bootstrap.retry_seconds >= written(Kind.LAUNCHD_DAEMON)["ExitTimeOut"]
    assert bootout.accepted_codes == (3, 113)
    assert bootout.retried_codes == (36,)


def test_a_job_that_is_there_is_not_bootstrapped_again() -> None:
    """Code 5 is also what bootstrap says of one that runs already."""
    (start,) = launchd.installation(PLAIN, Kind.LAUNCHD_DAEMON, 0).start

    assert start.skip_if == ("launchctl", "print", "system/com.ioconnect.agent")
