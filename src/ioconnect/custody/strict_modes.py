"""StrictModes, as sshd has them: root runs nothing, and acts on nothing, that another account could change."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import ioconnect
from ioconnect.custody.entries import flaw
from ioconnect.errors import ConfigInvalid, Fault, SystemRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

NOT_AS_ROOT = "or run it as an account of its own (install-service --run-as ACCOUNT)"


def check(paths: Iterable[Path]) -> None:
    """Raise ConfigInvalid if root would act on a file or folder that another account could change.

    Each component of each path is judged. Does nothing for other users.
    """
    _check(paths, ConfigInvalid, "root does not use")


def check_program() -> None:
    """Raise SystemRefused if root runs a program, interpreter or library that another account could change."""
    script = [Path(sys.argv[0])] if os.path.isabs(sys.argv[0]) else []  # noqa: PTH117  "-c" is none
    folders = [Path(sys.prefix), Path(sys.base_prefix), Path(ioconnect.__file__).parent]
    _check([*script, Path(sys.executable), *folders], SystemRefused, "root does not run")


def _check(paths: Iterable[Path], kind: type[Fault], what: str) -> None:
    if os.geteuid() != 0:
        return
    for path in dict.fromkeys(paths):
        found = flaw(path)
        if found is not None:
            raise kind(f"{what} {path}: {found.description}", hint=f"{found.remedy}, {NOT_AS_ROOT}.")
