"""What is to be installed, and what installing it means: the records that the installers' rooms exchange.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

UNIT_NAME = "ioconnect.service"
UNITS = Path("/etc/systemd/system")
LABEL = "com.ioconnect.agent"  # launchd
MARK = "Written by `ioconnect install-service`; remove it with `ioconnect uninstall-service`."


class Kind(str, Enum):
    """What keeps the agent running, as `--kind` names it."""

    SYSTEMD = "systemd"
    SYSTEMD_USER = "systemd-user"
    CRON = "cron"
    LAUNCHD_DAEMON = "launchd-daemon"
    LAUNCHD_AGENT = "launchd-agent"

    @property
    def is_system(self) -> bool:
        """Whether it belongs to the machine and starts at boot, whoever is signed in."""
        return self in (Kind.SYSTEMD, Kind.LAUNCHD_DAEMON)


@dataclass(frozen=True, slots=True)
class Service:
    """The agent as a service: everything an installer needs to know, nothing left to look up.

    `program` is the command up to its first option; its first word is an absolute path that stays valid when the
    interpreter behind it is updated. `run_as` None means: an account that systemd makes up for each start (system
    unit), or the one that installs (all other kinds). `credentials` are names and private keys that systemd reads
    for the account that runs the agent; with `encrypted` from `KEY.cred`. `sees_home` leaves /home and /root
    readable. `systemd_version` None means unknown, and is taken for the newest.
    """

    program: tuple[str, ...]
    config: Path
    home: Path
    log: Path
    environment: tuple[tuple[str, str], ...] = ()
    credentials: tuple[tuple[str, Path], ...] = ()
    encrypted: bool = False
    run_as: str | None = None
    sees_home: bool = False
    systemd_version: int | None = None

    @property
    def command(self) -> tuple[str, ...]:
        """The program, told which configuration to use; the subcommand follows."""
        return (*self.program, "--config", str(self.config))


@dataclass(frozen=True, slots=True)
class File:
    """One file to be written, and the mode it gets from its first byte."""

    path: Path
    content: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run. An exit code in `tolerated` counts as success.

    One in `retried` is met by running it again, for `patience` seconds at most. With `unless` it is left out if
    that command succeeds.
    """

    argv: tuple[str, ...]
    tolerated: tuple[int, ...] = ()
    retried: tuple[int, ...] = ()
    patience: float = 0.0
    unless: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Installation:
    """Files and the commands around them, in their order.

    `reread` follows a file that was written; `enable` comes in any case and is idempotent; if the service is to run
    now, `restart` when a file was written, else `start`. `disable` comes before the files are removed, `forget`
    after. `explain` shows why a start failed, `inspect` is what an administrator types to look at the service.
    """

    kind: Kind
    files: tuple[File, ...]
    folders: tuple[Path, ...] = ()  # made if they are not there, 0700, for the account that runs it
    reread: tuple[Command, ...] = ()
    enable: tuple[Command, ...] = ()
    start: tuple[Command, ...] = ()
    restart: tuple[Command, ...] = ()
    disable: tuple[Command, ...] = ()
    forget: tuple[Command, ...] = ()
    explain: tuple[str, ...] = ()
    inspect: str = ""
