"""Reads and writes a crontab by `crontab` itself; never over one that could not be read or that changed meanwhile."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.errors import SystemRefused
from ioconnect.installers.apply import Ran, run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NO_CRON = "Install cron (Debian: apt install cron; Red Hat: dnf install cronie), or choose another --kind."


def read(account: str | None = None) -> bytes:
    """Return the crontab of the account (None: one's own), empty if there is none. Raises SystemRefused."""
    ran = _crontab(account, "-l")
    if ran.code == 0:
        return _exactly(account) if b"\\" in ran.out else ran.out
    said = ran.err.lower()
    # Vixie's, Debian's and cronie's words; then BusyBox's.
    if b"no crontab for" in said or (b"can't open" in said and b"no such file" in said):
        return b""
    raise SystemRefused(
        f"the crontab cannot be read: {ran.words or f'code {ran.code}'}", hint="Nothing was changed. " + NO_CRON
    )


def _exactly(account: str | None) -> bytes:
    """Return the crontab as `crontab -e` hands it to an editor: Debian's `crontab -l` shows a CR as backslash and r.

    Our editor copies what it is given and changes nothing, so cron changes nothing either.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "crontab")
        copying = f"""sh -c 'cat "$1" >"$0"' {shlex.quote(str(copy))}"""
        ran = _crontab(account, "-e", variables={"VISUAL": copying, "EDITOR": copying})
        try:
            return copy.read_bytes()
        except FileNotFoundError as error:
            raise SystemRefused(
                f"the crontab cannot be read exactly: {ran.words or f'code {ran.code}'}",
                hint="Nothing was changed. Add what `ioconnect install-service --kind cron --print` shows yourself.",
            ) from error


def edit(change: Callable[[bytes], bytes], account: str | None = None) -> bool:
    """Put `change(table)` in the crontab's place; say whether it differs. Raises SystemRefused.

    A crontab that somebody else changed in between is left as it is; so is one that nothing changes. One that
    becomes empty is removed.
    """
    before = read(account)
    after = change(before)
    if after == before:
        return False
    if read(account) != before:
        raise SystemRefused("somebody else is changing the crontab", hint="Nothing was changed; try again.")
    ran = _crontab(account, "-", stdin=after) if after else _crontab(account, "-r")
    if ran.code != 0:
        raise SystemRefused(
            f"the crontab cannot be changed: {ran.words or f'code {ran.code}'}", hint="It is as it was."
        )
    if read(account) != after:
        raise SystemRefused(
            "the crontab does not hold what was written to it", hint="Look at it with `crontab -l`, and mend it."
        )
    return True


def _crontab(
    account: str | None, option: str, *, stdin: bytes = b"", variables: Mapping[str, str] | None = None
) -> Ran:
    whose = ("-u", account) if account else ()
    try:
        return run(("crontab", *whose, option), stdin=stdin, deadline=30, variables=variables)
    except SystemRefused as refused:
        if "there is no crontab" in refused.message:
            raise SystemRefused("there is no cron on this machine (no `crontab`)", hint=NO_CRON) from refused
        raise
