"""Reads and writes a crontab with `crontab`; never replaces one that is unreadable or changed meanwhile."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.custody.entries import Untrusted
from ioconnect.custody.files import read_regular
from ioconnect.errors import SystemRefused
from ioconnect.installers.programs import MAX_OUTPUT, Completed, run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NO_CRON = "Install cron (Debian: apt install cron; Red Hat: dnf install cronie), or choose another --kind."


def read(account: str | None = None) -> bytes:
    """Return the crontab of the account (None: this user's), empty if there is none. Raises SystemRefused."""
    result = _crontab(account, "-l")
    if result.returncode == 0:
        return _read_by_editor(account) if b"\\" in result.stdout else result.stdout
    message = result.stderr.lower()
    # The messages of Vixie cron, Debian and cronie; then BusyBox's.
    if b"no crontab for" in message or (b"can't open" in message and b"no such file" in message):
        return b""
    raise SystemRefused(
        f"the crontab cannot be read: {result.error_text or f'code {result.returncode}'}",
        hint="Nothing was changed. " + NO_CRON,
    )


def _read_by_editor(account: str | None) -> bytes:
    """Return the crontab as `crontab -e` passes it to an editor: Debian's `crontab -l` shows a CR as backslash and r.

    The editor copies the file without a change, so that cron keeps its crontab.
    """
    import tempfile  # noqa: PLC0415  brings random; `status` reads no crontab

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "crontab")
        copying = f"""sh -c 'head -c {MAX_OUTPUT + 1} "$1" >"$0"' {shlex.quote(str(copy))}"""
        result = _crontab(account, "-e", variables={"VISUAL": copying, "EDITOR": copying})
        try:
            return read_regular(copy, limit=MAX_OUTPUT)[0]
        except (OSError, Untrusted) as error:
            missing = isinstance(error, FileNotFoundError)
            why = (result.error_text or f"code {result.returncode}") if missing else error.strerror
            raise SystemRefused(
                f"the crontab cannot be read exactly: {why}",
                hint="Nothing was changed. Add what `ioconnect install-service --kind cron --print` shows yourself.",
            ) from error


def edit(change: Callable[[bytes], bytes], account: str | None = None) -> bool:
    """Replace the crontab by `change(table)`; return whether it differs. Raises SystemRefused.

    One that changes meanwhile, or that `change` leaves as it is, is not written; an empty result removes it.
    """
    before = read(account)
    after = change(before)
    if after == before:
        return False
    if read(account) != before:
        raise SystemRefused("somebody else is changing the crontab", hint="Nothing was changed; try again.")
    result = _crontab(account, "-", stdin=after) if after else _crontab(account, "-r")
    if result.returncode != 0:
        raise SystemRefused(
            f"the crontab cannot be changed: {result.error_text or f'code {result.returncode}'}",
            hint="It is as it was.",
        )
    if read(account) != after:
        raise SystemRefused(
            "the crontab does not hold what was written to it", hint="Look at it with `crontab -l`, and mend it."
        )
    return True


def _crontab(
    account: str | None, option: str, *, stdin: bytes = b"", variables: Mapping[str, str] | None = None
) -> Completed:
    user_option = ("-u", account) if account else ()
    try:
        return run(("crontab", *user_option, option), stdin=stdin, timeout=30, variables=variables)
    except SystemRefused as refused:
        if "there is no crontab" in refused.message:
            raise SystemRefused("there is no cron on this machine (no `crontab`)", hint=NO_CRON) from refused
        raise
