"""StrictModes, as sshd has them: root runs nothing, and acts on nothing, that another account could change.

What root reads is judged as it is opened (`trusted` of `files.read_regular`); a program has been opened already. So
refusing it finds an honest mistake (packages with a wrong umask, a folder of a user in PYTHONPATH), and keeps nobody
out: who could change the program before it was started is root already.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ioconnect.custody import program
from ioconnect.custody.entries import OTHER_ACCOUNT, custody_of
from ioconnect.custody.files import ROOT_ALONE
from ioconnect.errors import ConfigInvalid, Fault, SystemRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

# Set by `demo` for its commands: the uids of those who own the program, as which the demo itself has been started.
PROGRAM_OWNERS = "_IOCONNECT_PROGRAM_OWNERS"


def trusted(account: int | None) -> frozenset[int]:
    """Return whose changes an agent trusts besides root's; `account` is the uid of one that runs."""
    return ROOT_ALONE if account is None else frozenset({account})


def check_program(*, account: int | None = None) -> None:
    """Raise SystemRefused, with everything that is wrong, if another account could change what root runs.

    That is the program, its interpreter and libraries. `account` is the uid of an agent that runs, whose own files
    these may be. Does nothing for other users.
    """
    found = changeable_program(account=account)
    if found:
        raise SystemRefused(
            "; ".join(f"root does not run {each.path}: {each.description}" for each in found),
            hint=f"{'; '.join(dict.fromkeys(each.remedy for each in found))}, {OTHER_ACCOUNT}.",
        )


def changeable_program(*, account: int | None = None) -> list[program.Changeable]:
    """Return what `check_program` would refuse; nothing for other users than root."""
    if os.geteuid() != 0:
        return []
    return program.changeable(trusted(account) | _demo_owners())


def faults(paths: Iterable[Path], *, account: int | None = None) -> Iterator[Fault]:
    """Yield what root's agent would raise for its program, and for reading these files."""
    for each in changeable_program(account=account):
        yield _fault(SystemRefused, "root does not run", each.path, each.description, each.remedy)
    told: set[Path] = set()
    for path in dict.fromkeys(paths) if os.geteuid() == 0 else ():
        found = custody_of(path)
        if found is not None and not found.uids <= trusted(account) and found.component not in told:
            told.add(found.component)
            yield _fault(ConfigInvalid, "root does not use", path, found.description, found.remedy)


def _fault(kind: type[Fault], what: str, path: Path, description: str, remedy: str) -> Fault:
    return kind(f"{what} {path}: {description}", hint=f"{remedy}, {OTHER_ACCOUNT}.")


def _demo_owners() -> frozenset[int]:
    uids = os.environ.get(PROGRAM_OWNERS, "").split(",")
    return frozenset(int(uid) for uid in uids if uid.isascii() and uid.isdecimal())
