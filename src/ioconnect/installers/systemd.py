"""The systemd unit: Type=notify with a watchdog, in a sandbox (systemd.exec(5)).

Pure. Directives that the target's systemd does not know are left out: it would warn about each at every reload.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ioconnect.config.settings import MISSING_CREDENTIAL
from ioconnect.errors import SystemRefused
from ioconnect.installers.service import MARK, UNIT_NAME, Command, File, Installation, Kind, Service

if TYPE_CHECKING:
    from pathlib import Path

OLDEST = 235  # StateDirectory= with DynamicUser=; systems with an older one have no Python 3.10 either
CREDENTIALS_SINCE = 247
ENCRYPTED_SINCE = 250
CLEAN_SINCE = 243
WATCHDOG_SECONDS = 30
NO_RESTART_ON = "64"

_RESTART_POLICY = """\
ExecReload=/bin/kill -HUP $MAINPID
WorkingDirectory=/
Restart=always
{restart}
# A wrong command line: only another unit heals that. Identity, pins and configuration may be mended at any time.
RestartPreventExitStatus={no_restart_on}
WatchdogSec={watchdog}
TimeoutStopSec=20
"""

# (first version, directive), see systemd.exec(5). The tests check the score of `systemd-analyze security`.
_SANDBOX: tuple[tuple[int, str], ...] = (
    (0, "CapabilityBoundingSet="),
    (232, "ProtectSystem=strict"),
    (214, "PrivateTmp=yes"),
    (209, "PrivateDevices=yes"),
    (239, "PrivateMounts=yes"),
    (232, "PrivateUsers=yes"),
    (242, "ProtectHostname=yes"),
    (245, "ProtectClock=yes"),
    (232, "ProtectKernelTunables=yes"),
    (232, "ProtectKernelModules=yes"),
    (244, "ProtectKernelLogs=yes"),
    (232, "ProtectControlGroups=yes"),
    (247, "ProtectProc=invisible"),
    (247, "ProcSubset=pid"),
    (232, "RemoveIPC=yes"),
)
# The machine is the database's: under pressure the agent gives way (systemd.resource-control(5)). Buffers, 64 MiB a
# tunnel by default, are full only while databases do not read.
_LIMITS = "MemoryMax=2G\nTasksMax=4096\nCPUWeight=50\nOOMScoreAdjust=500\n"
# Directives that need no privileges which a user manager lacks; used in system units too. All others need namespaces,
# which many kernels forbid to ordinary users: there a unit with them would not start (systemd.exec(5)).
_SANDBOX_EVERYWHERE: tuple[tuple[int, str], ...] = (
    (187, "NoNewPrivileges=yes"),
    (235, "KeyringMode=private"),
    (233, "RestrictNamespaces=yes"),
    (239, "SystemCallFilter=@system-service"),
    (239, "SystemCallFilter=~@privileged @resources"),
    (209, "SystemCallErrorNumber=EPERM"),
    (235, "LockPersonality=yes"),
    (231, "MemoryDenyWriteExecute=yes"),
    (231, "RestrictRealtime=yes"),
    (242, "RestrictSUIDSGID=yes"),
    (211, "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK"),
    (209, "SystemCallArchitectures=native"),
)


def unit(service: Service, *, user: bool = False) -> str:
    """Return the unit's text; `user` for a user unit. Raises SystemRefused if it cannot work with this systemd."""
    version = service.systemd_version
    if version is not None and version < OLDEST:
        raise SystemRefused(
            f"this systemd is version {version}, the unit needs {OLDEST} or newer",
            hint="Use `ioconnect install-service --kind cron`.",
        )
    if any(c in service.program[0] for c in "\"'\\"):  # string_is_safe() of systemd's own source
        raise SystemRefused(
            f"systemd starts no program with a quotation mark or backslash in its path: {service.program[0]}",
            hint="Install ioconnect elsewhere, for example in /opt/ioconnect.",
        )

    def known(directives: tuple[tuple[int, str], ...]) -> str:
        return "".join(f"{line}\n" for since, line in directives if version is None or version >= since)

    sections = [
        f"# {MARK}\n",
        "[Unit]\nDescription=Integrate.io tunnel agent\n",
        # Not network-online.target: the agent waits for the network itself and shows that in its status. After=
        # orders the shutdown: the tunnels are closed before the network goes down.
        "" if user else "After=network.target nss-lookup.target\n" + _mounts(service),
        "StartLimitIntervalSec=0\n",
        "\n[Service]\n# Ready once the configuration is good; `systemctl status` shows what the tunnels do.\n",
        "Type=notify\nNotifyAccess=main\n",
        # Variables are not expanded in the program's path (systemd.service(5), "Command lines").
        f"ExecStart={' '.join([quoted(service.command[0]), *map(quoted_argument, service.command[1:])])} up\n",
        _restart_policy(version),
        *(f"Environment={quoted(f'{name}={value}')}\n" for name, value in service.environment),
        "SyslogIdentifier=ioconnect\nUMask=0077\nLimitCORE=0\n",
        # The hard limits of a user manager may be lower.
        "" if user else "LimitNOFILE=65536\n",
        _LIMITS,
        "" if user else _account(service, version),
        "# What is left of its rights; `systemd-analyze security ioconnect` judges.\n",
        "" if user else known(_SANDBOX),
        known(_SANDBOX_EVERYWHERE),
        f"\n[Install]\nWantedBy={'default.target' if user else 'multi-user.target'}\n",
    ]
    return "".join(sections)


def installation(service: Service, folder: Path, *, user: bool = False) -> Installation:
    """Return the unit in `folder` and the commands that install and remove it."""
    systemctl = ("systemctl", "--user") if user else ("systemctl",)
    reload = Command((*systemctl, "daemon-reload"))
    disable: tuple[Command, ...] = (Command((*systemctl, "disable", "--now", UNIT_NAME)),)
    version = service.systemd_version
    if not user and (version is None or version >= CLEAN_SINCE):
        # clean requires an inactive unit, which a failed one is not (exit codes 1, 5: not loaded).
        disable += (Command((*systemctl, "reset-failed", UNIT_NAME), accepted_codes=(1, 5)),)
        disable += (Command((*systemctl, "clean", "--what=state", UNIT_NAME)),)
    journal = ("journalctl", *(("--user",) if user else ()), "--unit", UNIT_NAME)
    return Installation(
        kind=Kind.SYSTEMD_USER if user else Kind.SYSTEMD,
        files=(File(folder / UNIT_NAME, unit(service, user=user).encode()),),
        reload=(reload,),
        enable=(Command((*systemctl, "enable", UNIT_NAME)),),
        start=(Command((*systemctl, "start", UNIT_NAME)),),
        restart=(Command((*systemctl, "restart", UNIT_NAME)),),
        disable=disable,
        cleanup=(reload, Command((*systemctl, "reset-failed", UNIT_NAME), accepted_codes=(1, 5))),
        log_command=(*journal, "--identifier=ioconnect", "--lines=5", "--output=cat", "--no-pager"),
        status_command=f"{' '.join(systemctl)} status ioconnect",
    )


def quoted(text: str) -> str:
    """Return one word for a unit file (systemd.syntax(7)): quoted, with `%` escaped from specifiers."""
    inner = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{inner}"' if inner != text or any(c in " '\t;" for c in text) or not text else text


def quoted_argument(text: str) -> str:
    """Return one word of a command line: as `quoted`, with `$` escaped from variables."""
    return quoted(text).replace("$", "$$")


def _mounts(service: Service) -> str:
    return f"RequiresMountsFor={quoted(str(service.config.parent))}\n"


def _restart_policy(version: int | None) -> str:
    steps = "RestartSec=1\nRestartSteps=8\nRestartMaxDelaySec=60"
    restart = steps if version is None or version >= 254 else "RestartSec=3"  # noqa: PLR2004  RestartSteps= came in 254
    return _RESTART_POLICY.format(restart=restart, no_restart_on=NO_RESTART_ON, watchdog=WATCHDOG_SECONDS)


def _account(service: Service, version: int | None) -> str:
    lines = [f"User={service.run_as}" if service.run_as else "DynamicUser=yes"]
    lines += ["StateDirectory=ioconnect", "StateDirectoryMode=0700"]
    lines += ["RuntimeDirectory=ioconnect", "RuntimeDirectoryMode=0755"]  # the world-readable snapshot
    lines += _credentials(service, version)
    lines += [f"ProtectHome={'read-only' if service.sees_home else 'yes'}"]
    return "".join(f"{line}\n" for line in lines)


def _credentials(service: Service, version: int | None) -> list[str]:
    """Return the LoadCredential= lines: systemd reads the identities as root for an account that cannot.

    SetCredential= is the default for a file that is missing: without, the unit would not start (systemd.exec(5)).
    """
    if not service.credentials:
        return []
    needed = ENCRYPTED_SINCE if service.encrypted else CREDENTIALS_SINCE
    if version is not None and version < needed:
        raise SystemRefused(
            f"this systemd is version {version}; handing an identity to the service needs {needed} or newer",
            hint="Make an account for it, give it the identity (chown), and use `--run-as ACCOUNT`.",
        )
    for _, path in service.credentials:
        if any(character.isspace() or character in "\"'\\:" for character in str(path)):
            # systemd up to 252 takes such a path as it is, later ones split and unquote it.
            raise SystemRefused(
                f"the identity {path} has a blank, a quotation mark, a backslash or a colon in its path, "
                "which not every systemd can hand over",
                hint="Give it a path without one: move it, and name it as identity = … in the configuration.",
            )
    directive, suffix = ("LoadCredentialEncrypted", ".cred") if service.encrypted else ("LoadCredential", "")
    # The text after the colon is the path, unquoted, with specifiers (systemd.exec(5)).
    why = (
        "# Read by systemd and handed over: the account that runs the agent need not read the file. It may be",
        "# missing: one tunnel without its key does not keep the others down.",
    )
    lines = [*why]
    for name, path in service.credentials:
        lines += [f"{directive}={name}:{str(path).replace('%', '%%')}{suffix}"]
        lines += [f"SetCredential={name}:{MISSING_CREDENTIAL}"]
    return lines
