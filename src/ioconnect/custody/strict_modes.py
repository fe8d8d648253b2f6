"""StrictModes, as sshd has them: root runs nothing, and acts on nothing, that another account could change.

What root reads is judged as it is opened (`trusted` of `files.read_regular`); a program has been opened already.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import ioconnect
from ioconnect.custody.entries import OTHER_ACCOUNT, flaw
from ioconnect.errors import ConfigInvalid, Fault, SystemRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT_ALONE: frozenset[int] = frozenset()  # as `trusted` of `files.read_regular`


def trusted(account: int | None) -> frozenset[int]:
    """Return whose changes an agent trusts besides root's; `account` is the uid of one that runs."""
    return ROOT_ALONE if account is None else frozenset({account})


def check_program(*, account: int | None = None) -> None:
    """Raise SystemRefused if root runs a program, interpreter or library that another account could change.

    `account` is the uid of an agent that runs, whose own files these may be. Does nothing for other users.
    """
    for fault in _faults(_program(), SystemRefused, "root does not run", account):
        raise fault


def faults(paths: Iterable[Path], *, account: int | None = None) -> Iterator[Fault]:
    """Yield what root's agent would raise for its program, and for reading these files."""
    yield from _faults(_program(), SystemRefused, "root does not run", account)
    yield from _faults(paths, ConfigInvalid, "root does not use", account)


def _program() -> list[Path]:
    script = [Path(sys.argv[0])] if os.path.isabs(sys.argv[0]) else []  # noqa: PTH117  "-c" is none
    return [*script, Path(sys.executable), Path(sys.prefix), Path(sys.base_prefix), Path(ioconnect.__file__).parent]


def _faults(paths: Iterable[Path], kind: type[Fault], what: str, account: int | None) -> Iterator[Fault]:
    if os.geteuid() != 0:
        return
    for path in dict.fromkeys(paths):
        found = flaw(path)
        if found is not None and not found.uids <= trusted(account):
            yield kind(f"{what} {path}: {found.description}", hint=f"{found.remedy}, {OTHER_ACCOUNT}.")
