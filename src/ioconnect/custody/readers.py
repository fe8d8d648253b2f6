"""Whether an account may read a file or enter a folder: by its mode and its POSIX list (acl(5)).

A list that cannot be read, and lists of other kinds (NFSv4, macOS), are left out: the mode decides.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.custody.writers import posix_list

if TYPE_CHECKING:
    from collections.abc import Iterator

_USER, _GROUP_OBJ, _GROUP, _MASK = 2, 4, 8, 16  # acl(5), and the kernel's posix_acl_xattr.h
SEARCH, READ, LIST = 0o1, 0o4, 0o5
_CACHE = "__pycache__"  # Python does without


@dataclass(frozen=True, slots=True)
class Reader:
    """An account; `uid` None is a dynamic user, which has the rights of anybody only."""

    uid: int | None
    groups: frozenset[int] = frozenset()


def may(reader: Reader, path: Path, facts: os.stat_result, needed: int) -> bool:
    """Whether the account has the rights `needed` on the path, which is no link, as the kernel decides (acl(5))."""
    if reader.uid == 0:
        return True
    if reader.uid == facts.st_uid:
        return facts.st_mode >> 6 & needed == needed
    entries: list[tuple[int, int, int]] = []
    with contextlib.suppress(OSError, struct.error):
        entries = posix_list(path)
    if not entries:
        entries = [(_GROUP_OBJ, facts.st_mode >> 3 & 0o7, 0)]
    mask = next((bits for tag, bits, _ in entries if tag == _MASK), 0o7)
    for tag, bits, number in entries:
        if tag == _USER and number == reader.uid:
            return bits & mask & needed == needed
    groups = [
        bits
        for tag, bits, number in entries
        if (tag == _GROUP_OBJ and facts.st_gid in reader.groups) or (tag == _GROUP and number in reader.groups)
    ]
    if groups:
        return any(bits & mask & needed == needed for bits in groups)
    return facts.st_mode & needed == needed


def closed(reader: Reader, path: Path) -> list[Path]:
    """Return the parts of the path, each by its real name, that the account may not enter, and the last if not read.

    What does not exist counts as readable.
    """
    target = Path(os.path.realpath(path))
    found = []
    for part in (*reversed(target.parents), target):
        try:
            facts = part.stat()
        except OSError:
            break
        needed = SEARCH if part != target else LIST if stat.S_ISDIR(facts.st_mode) else READ
        if not may(reader, part, facts, needed):
            found.append(part)
    return found


def closed_below(reader: Reader, folder: Path) -> Iterator[Path]:
    """Yield the folders and files below a folder of programs that the account may not read; no links, no caches."""
    for entry in _entries(folder):
        path = Path(entry.path)
        with contextlib.suppress(OSError):
            facts = entry.stat(follow_symlinks=False)
            is_folder = stat.S_ISDIR(facts.st_mode)
            if not is_folder and not stat.S_ISREG(facts.st_mode):
                continue
            if not may(reader, path, facts, LIST if is_folder else READ):
                yield path
            if is_folder:
                yield from closed_below(reader, path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return [entry for entry in entries if entry.name != _CACHE]
    return []
