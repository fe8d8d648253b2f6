"""Finds which accounts cron starts the agent of a configuration as: in their crontabs, /etc/crontab and /etc/cron.d.

Reads only, and for root only, as crontabs are.
"""

from __future__ import annotations

import contextlib
import itertools
import pwd
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.custody.entries import Untrusted
from ioconnect.custody.files import read_regular
from ioconnect.installers.apply import MAX_FILE
from ioconnect.installers.crontab import BEGIN, quoted_in_crontab

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
SYSTEM_TABLES = (Path("/etc/crontab"), Path("/etc/cron.d"))  # with an account before the command (crontab(5))
_USER_OPTIONS = ("-u", "--user", "--reuid")  # of runuser(1), sudo(8), doas(1) and setpriv(1)


@dataclass(frozen=True, slots=True)
class CronJob:
    """An agent that cron starts: in which table, and as whom. `is_block`: the block of `install-service`."""

    table: Path
    account: str
    uid: int
    is_block: bool = False


def of(config: Path) -> Iterator[CronJob]:
    """Yield the jobs of this configuration whose account is there."""
    for folder in SPOOLS:
        for table in _files(folder):
            yield from _jobs(table, config, table.name)
    for place in SYSTEM_TABLES:
        for table in (place, *_files(place)):
            yield from _jobs(table, config, None)


def uid_of(account: str) -> int | None:
    """Return the uid of an account, by name or number; None if there is none of that name."""
    with contextlib.suppress(KeyError, ValueError):
        return int(account) if account.isdecimal() else pwd.getpwnam(account).pw_uid
    return None


def _jobs(table: Path, config: Path, owner: str | None) -> Iterator[CronJob]:
    try:
        text = read_regular(table, limit=MAX_FILE)[0].decode("utf-8", "surrogateescape")
    except (OSError, Untrusted):
        return
    names = "|".join(re.escape(name) for name in {str(config), quoted_in_crontab(str(config))})
    names_config = re.compile(rf"[\s='\"](?:{names})(?=[\s'\"]|$)")
    for line in text.splitlines():
        if line.lstrip().startswith("#") or not names_config.search(line):
            continue
        words = line.split()
        words = words[1:] if words[0].startswith("@") else words[5:]
        account = owner or next(iter(words), "")
        if "up" not in words:
            continue
        runs_as = _switched_to(words) or account
        uid = uid_of(runs_as)
        if uid is not None:
            yield CronJob(table, runs_as, uid, is_block=owner == runs_as and BEGIN in text)


def _switched_to(words: list[str]) -> str:
    """Return the account that a command of root's is run as by another program; "" if by none."""
    for at, word in enumerate(words):
        rest = words[at + 1 :]
        name = word.rpartition("/")[2]
        if name in ("runuser", "sudo", "doas", "setpriv"):
            for option, value in itertools.pairwise(rest):
                key, equals, inline = option.partition("=")
                if key in _USER_OPTIONS:
                    return inline if equals else value
        if name == "su":
            given = [each for before, each in zip(words[at:], rest, strict=False) if before not in ("-s", "--shell")]
            return next((each for each in given if not each.startswith("-")), "")
    return ""


def _files(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return sorted(folder.iterdir())
    return []
