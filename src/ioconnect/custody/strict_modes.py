"""StrictModes, as sshd has them: root runs nothing, and acts on nothing, that another account could change.

What root reads is judged as it is opened (`trusted` of `files.read_regular`); a program has been opened already. So
refusing it finds an honest mistake (packages with a wrong umask, a folder of a user in PYTHONPATH), and keeps nobody
out: who could change the program before it was started is root already.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

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


def _program() -> Iterator[Path]:
    """Yield script and interpreter, the folders that modules are imported from, and which of those others may own."""
    if os.path.isabs(sys.argv[0]):  # noqa: PTH117  "-c" is none
        yield Path(sys.argv[0])
    yield from map(Path, (sys.executable, sys.prefix, sys.base_prefix))
    folders = [Path(entry or ".").absolute() for entry in sys.path]  # "": the working folder
    loaded = dict.fromkeys(_loaded())
    yield from dict.fromkeys([*folders, *(file.parent for file in loaded)])
    importable = [entry for folder in dict.fromkeys(folders) for entry in _importable(folder)]
    yield from (file for file in (*loaded, *importable) if not _is_roots_alone(file))


def _loaded() -> Iterator[Path]:
    """Yield the absolute paths of all files of modules that are loaded."""
    for module in list(sys.modules.values()):
        spec = getattr(module, "__spec__", None)
        for name in (getattr(module, "__file__", None), getattr(spec, "cached", None)):
            if isinstance(name, str):
                yield Path(name).absolute()


def _importable(folder: Path) -> Iterator[Path]:
    """Yield modules and packages that may be imported from there later, and .pth files, which the next start runs."""
    suffixes = (*importlib.machinery.all_suffixes(), ".pth")
    with contextlib.suppress(OSError):  # none, or an archive
        for path in folder.iterdir():
            if path.name.endswith(suffixes) or (path / "__init__.py").exists():
                yield path


def _is_roots_alone(path: Path) -> bool:
    """Whether a file in a folder that was judged needs no closer look; an ACL shows in the group's bits."""
    try:
        facts = path.lstat()
    except OSError:
        return True
    return not stat.S_ISLNK(facts.st_mode) and facts.st_uid == 0 and not facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _faults(paths: Iterable[Path], kind: type[Fault], what: str, account: int | None) -> Iterator[Fault]:
    if os.geteuid() != 0:
        return
    told: set[Path] = set()
    for path in dict.fromkeys(paths):
        found = flaw(path)
        if found is not None and not found.uids <= trusted(account) and found.component not in told:
            told.add(found.component)
            yield kind(f"{what} {path}: {found.description}", hint=f"{found.remedy}, {OTHER_ACCOUNT}.")
