"""The agents that cron starts as accounts which root named (`install-service --kind cron --run-as`); for root only.

What an account writes into its crontab proves nothing to root. So root keeps a copy of each block that it installed;
an agent counts whose block is still in the account's crontab, byte for byte. Other lines are not looked at.
"""

from __future__ import annotations

import contextlib
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.custody.descriptors import names_in
from ioconnect.custody.entries import Untrusted
from ioconnect.custody.files import make_folder, read_regular, remove, write_atomically
from ioconnect.custody.strict_modes import ROOT_ALONE
from ioconnect.installers import crontab
from ioconnect.installers.apply import MAX_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

# Folders of crontabs, each named like its account: Debian's and BusyBox's, Red Hat's, the BSDs', macOS's.
SPOOLS = tuple(
    Path(folder)
    for folder in (
        *("/var/spool/cron/crontabs", "/var/spool/cron", "/etc/crontabs"),
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


def of(config: Path) -> Iterator[CronJob]:
    """Yield the jobs of this configuration whose account is there."""
    with contextlib.suppress(OSError, Untrusted):
        for name in sorted(names_in(RECORDS, trusted=ROOT_ALONE)):
            yield from _jobs(name, config)


def record(account: str, block: bytes) -> None:
    """Keep a copy of the block that root has put into the account's crontab. Raises CannotCreate."""
    make_folder(RECORDS)
    write_atomically(RECORDS / account, block, keeps_owner=False)


def forget(account: str) -> None:
    """Remove the copy; one that is left counts no more without the block in the crontab."""
    with contextlib.suppress(OSError, Untrusted):
        remove(RECORDS / account)


def uid_of(account: str) -> int | None:
    """Return the uid of an account, by name or number; None if there is none of that name."""
    with contextlib.suppress(KeyError, ValueError):
        return int(account) if account.isdecimal() else pwd.getpwnam(account).pw_uid
    return None


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
        return read_regular(file, limit=MAX_FILE, trusted=trusted)[0]
    return b""
