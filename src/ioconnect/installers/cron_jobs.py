"""The agents that cron starts, written into crontabs; and those of accounts that root named (`--run-as`).

What an account writes into its crontab proves nothing to root. So root keeps a copy of each block that it installed;
an agent counts whose block is still in the account's crontab, byte for byte. Other lines are not looked at.
"""

from __future__ import annotations

import contextlib
import os
import pwd
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.config.paths import absolute
from ioconnect.custody.descriptors import names_in
from ioconnect.custody.entries import Untrusted
from ioconnect.custody.files import ROOT_ALONE, make_folder, read_regular, remove, write_atomically
from ioconnect.errors import CannotCreate, SystemRefused
from ioconnect.installers import apply, crontab, machine, user_crontab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ioconnect.installers.service import Service

# Folders of crontabs, each named like its account: Debian's and BusyBox's, Red Hat's, SUSE's, the BSDs', macOS's.
SPOOLS = tuple(
    Path(folder)
    for folder in (
        *("/var/spool/cron/crontabs", "/var/spool/cron", "/var/spool/cron/tabs", "/etc/crontabs"),
        *("/var/cron/tabs", "/usr/lib/cron/tabs"),
    )
)
RECORDS = Path("/var/lib/ioconnect-cron")  # a file for each account; /var/lib/ioconnect may be a service account's


@dataclass(frozen=True, slots=True)
class CronJob:
    """An agent that cron starts: in which crontab, as whom, and the program with its `env`, up to the subcommand."""

    table: Path
    account: str
    uid: int
    command: tuple[str, ...] = ()

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables that it has (NAME=value)."""
        return self.command[2 : self._program_at]

    @property
    def program(self) -> tuple[str, ...]:
        """The program with its options, up to the subcommand."""
        return self.command[self._program_at :]

    def line(self, *arguments: str) -> str:
        """Return the line with which root runs a command of ioconnect for this agent."""
        return machine.as_account(self.account, (*self.program, *arguments), self.variables)

    @property
    def _program_at(self) -> int:
        words = enumerate(self.command)
        return next((at for at, word in words if at > 1 and word.startswith("/")), 2)  # after `env -i`


def install(service: Service, *, start: bool) -> bool:
    """Write the service's block, keep a copy of one for an account, start the agent; return whether one changed.

    A failure, also Ctrl-C, undoes that and is raised (SystemRefused, CannotCreate).
    """
    new, name = crontab.block(service), service.run_as
    old = crontab.block_in(user_crontab.read(name))
    copy = b"" if name is None else _read(RECORDS / name, ROOT_ALONE)
    changed = user_crontab.edit(partial(crontab.with_block, new=new), name)
    try:
        if name is not None:
            record(name, new)  # before the start: what is not recorded must not run
        if start:
            apply.run_command(crontab.start(service))
    except BaseException:
        if name is not None:
            _restore(name, copy)
        user_crontab.edit(crontab.without_block if old is None else partial(crontab.with_block, new=old), name)
        raise
    return changed


def refuse_second(config: Path, *, replaced: str | None, reads_own: bool) -> None:
    """Raise SystemRefused if cron starts the agent of this configuration, for root, but as the account `replaced`.

    With `reads_own` root's own crontab is read too, into which earlier versions installed without an account.
    """
    job = next((each for each in of(config) if each.account != replaced), None)
    if job is not None:
        raise SystemRefused(
            f"cron starts the agent of this configuration as {job.account} already, and this would be a second one",
            hint="Remove that first, and end its agent: ioconnect uninstall-service --kind cron "
            f"--run-as {job.account}; {job.line('down')}",
        )
    if reads_own and crontab.starts(crontab.block_in(user_crontab.read()) or b"", config):
        raise SystemRefused(
            "root's crontab starts the agent of this configuration as root, and this would be a second one",
            hint="Remove that first, and end its agent: ioconnect uninstall-service --kind cron; ioconnect down",
        )


def of(config: Path) -> Iterator[CronJob]:
    """Yield the jobs of this configuration whose account is there."""
    with contextlib.suppress(OSError, Untrusted):
        for name in sorted(names_in(RECORDS, trusted=ROOT_ALONE)):
            yield from _jobs(name, config)


def record(account: str, block: bytes) -> None:
    """Keep a copy of the block that root has put into the account's crontab. Raises CannotCreate."""
    make_folder(RECORDS)
    write_atomically(RECORDS / account, block, keeps_owner=False)


def down(account: str, config: Path) -> str:
    """Return the line that ends the account's agent: as root installed it, else that of this configuration."""
    copy = _read(RECORDS / account, ROOT_ALONE)
    if copy:
        return CronJob(RECORDS / account, account, 0, crontab.command_in(copy)).line("down")
    home = os.environ.get("IOCONNECT_HOME")
    variables = (f"IOCONNECT_HOME={absolute(home)}",) if home else ()
    return machine.as_account(account, (*machine.program(), "--config", str(config), "down"), variables)


def forget(account: str) -> None:
    """Remove the copy; one that is left counts no more without the block in the crontab."""
    with contextlib.suppress(OSError, Untrusted):
        remove(RECORDS / account)


def uid_of(account: str) -> int | None:
    """Return the uid of an account, by name or number; None if there is none of that name."""
    with contextlib.suppress(KeyError, ValueError):
        return int(account) if account.isdecimal() else pwd.getpwnam(account).pw_uid
    return None


def _restore(account: str, block: bytes) -> None:
    if not block:
        forget(account)
        return
    with contextlib.suppress(CannotCreate):
        record(account, block)


def _jobs(name: str, config: Path) -> Iterator[CronJob]:
    block = _read(RECORDS / name, ROOT_ALONE)
    if not crontab.starts(block, config):
        return
    with contextlib.suppress(KeyError):
        account = pwd.getpwnam(name)
        for folder in SPOOLS:
            table = folder / account.pw_name
            if b"\n" + block in b"\n" + _read(table):
                yield CronJob(table, name, account.pw_uid, crontab.command_in(block))


def _read(file: Path, trusted: frozenset[int] | None = None) -> bytes:
    """Return the content of a file; nothing if there is none, or none that root may read."""
    with contextlib.suppress(OSError, Untrusted):
        return read_regular(file, limit=apply.MAX_FILE, trusted=trusted)[0]
    return b""
