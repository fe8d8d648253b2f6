"""The records of an installation: the service, its files and its commands.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

UNIT_NAME = "ioconnect.service"
UNITS = Path("/etc/systemd/system")
USER_UNITS = Path(".config/systemd/user")
LABEL = "com.ioconnect.agent"  # launchd
MARK = "Written by `ioconnect install-service`; remove it with `ioconnect uninstall-service`."


class Kind(str, Enum):
    """The kind of service, as `--kind` names it."""

    SYSTEMD = "systemd"
    SYSTEMD_USER = "systemd-user"
    CRON = "cron"
    LAUNCHD_DAEMON = "launchd-daemon"
    LAUNCHD_AGENT = "launchd-agent"

    @property
    def is_system(self) -> bool:
        """Whether it is the machine's service, which starts at boot without a login."""
        return self in (Kind.SYSTEMD, Kind.LAUNCHD_DAEMON)


@dataclass(frozen=True, slots=True)
class Service:
    """The agent as a service, with everything that an installer needs.

    `program` is the command up to its first option; its first word is an absolute path that stays valid when the
    interpreter is updated. `run_as` None is a dynamic user (systemd system unit), or the account that installs (all
    other kinds). `credentials` are names and private keys that systemd passes to the agent, with `encrypted` from
    `KEY.cred`. `sees_home` leaves /home and /root readable. `systemd_version` None is unknown, taken for the newest.
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
        """The program with its `--config` option; the subcommand follows."""
        return (*self.program, "--config", str(self.config))


@dataclass(frozen=True, slots=True)
class File:
    """A file to be written, with its mode."""

    path: Path
    content: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Command:
    """A command to run; an exit code in `accepted_codes` counts as success.

    After one in `retried_codes` it is repeated for `retry_seconds`. It is skipped if the command `skip_if` succeeds.
    Root runs it as the `account`.
    """

    argv: tuple[str, ...]
    accepted_codes: tuple[int, ...] = ()
    retried_codes: tuple[int, ...] = ()
    retry_seconds: float = 0.0
    skip_if: tuple[str, ...] | None = None
    account: str | None = None


@dataclass(frozen=True, slots=True)
class Installation:
    """The files of a service and the commands around them, in their order.

    `reload` follows a changed file; `enable` always runs and is idempotent; to start the service now, `restart` runs
    if a file changed, else `start`. `disable` runs before the files are removed, `cleanup` after. `log_command` shows
    why a start failed, `status_command` is shown to the user.
    """

    kind: Kind
    files: tuple[File, ...]
    folders: tuple[Path, ...] = ()  # created with 0700 if missing, owned by the account that runs the service
    reload: tuple[Command, ...] = ()
    enable: tuple[Command, ...] = ()
    start: tuple[Command, ...] = ()
    restart: tuple[Command, ...] = ()
    disable: tuple[Command, ...] = ()
    cleanup: tuple[Command, ...] = ()
    log_command: tuple[str, ...] = ()
    status_command: str = ""
