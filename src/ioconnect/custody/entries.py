"""Finds what a path leads to; for root component by component, so that no other account decides where root goes.

From the first folder on in which somebody but root may replace what lies in it, a path is in that account's custody:
there root follows no link, and what it opens must be a file of that account with one name. A component is opened by
the descriptor of its folder (openat(2), O_NOFOLLOW), so it cannot be replaced between the check and the use.

Any other user than root leaves the path to the kernel: nobody gains by what that user may do anyway.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ANYBODY = -1  # as a uid
MAX_LINKS = 40  # as many as Linux follows (path_resolution(7))
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Untrusted(OSError):
    """Root does not use this path; `strerror` names the component that is wrong, whose it is, and what to do."""

    def __init__(self, message: str, path: Path, custody: Custody) -> None:
        super().__init__(errno.ELOOP, message, str(path))
        self.custody = custody


@dataclass(frozen=True, slots=True)
class Custody:
    """Who besides root may replace what a path leads to, and the first component where that is so."""

    component: Path
    uids: frozenset[int]
    description: str  # "/srv/app belongs to deploy"
    remedy: str  # a command


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in an open folder; without a folder (not root) the whole path, which the kernel resolves."""

    path: Path
    name: str
    folder: int | None = None
    custody: Custody | None = None

    def beside(self, name: str) -> str:
        """Return another name in the same folder, for the same `folder`."""
        return name if self.folder is not None else os.path.join(os.path.dirname(self.name), name)  # noqa: PTH118, PTH120

    def facts(self) -> os.stat_result | None:
        """Return the lstat(2) result of the entry itself, None if there is none."""
        try:
            return os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def folder_owner(self) -> tuple[int, int]:
        """Return uid and gid of the folder; for root only."""
        assert self.folder is not None
        facts = os.fstat(self.folder)
        return facts.st_uid, facts.st_gid

    def check_owner(self, facts: os.stat_result, *, own: bool = False) -> None:
        """Check that an opened entry is a file or folder of the account that has its path in custody.

        With `own` not one of root's, which that account may have moved there. Raises Untrusted.
        """
        if self.custody is None:
            return
        if not stat.S_ISDIR(facts.st_mode) and facts.st_nlink != 1:
            raise Untrusted(
                f"it has {facts.st_nlink} names (hard links), and {self.custody.description}: name a copy of it",
                self.path,
                self.custody,
            )
        allowed = self.custody.uids if own else self.custody.uids | {0}
        if facts.st_uid not in allowed and (own or ANYBODY not in allowed):
            raise Untrusted(
                f"it belongs to {account_name(facts.st_uid)}, and {self.custody.description}: "
                "give both to one account (chown)",
                self.path,
                self.custody,
            )


@contextlib.contextmanager
def entry(path: Path, *, follow: bool) -> Iterator[Entry]:
    """Yield the entry that the path leads to, which need not exist; its folder does.

    `follow`: also a link at the end, if only root can have made it. Raises OSError, Untrusted.
    """
    if os.geteuid() != 0:
        yield Entry(path, os.fspath(path))
        return
    found = _resolve(path, follow=follow)
    try:
        yield found
    finally:
        assert found.folder is not None
        os.close(found.folder)


def flaw(path: Path) -> Custody | None:
    """Return who besides root may change what lies at the path; None if nobody, or if it cannot be told.

    Judges every folder and link on the way, and the file itself. A path that does not exist is judged as far as it
    does. Works for any user.
    """
    try:
        found = _resolve(path, follow=True)
    except Untrusted as untrusted:
        return untrusted.custody
    except OSError:
        return None
    try:
        facts = found.facts()
        if found.custody is not None or facts is None:
            return found.custody
        return _writer(facts, path, is_sticky=False)
    finally:
        assert found.folder is not None
        os.close(found.folder)


def account_name(uid: int) -> str:
    """Return the account's name; `uid N` for one without."""
    if uid == ANYBODY:
        return "anybody"
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _resolve(path: Path, *, follow: bool) -> Entry:
    """Return the entry, whose folder the caller closes. Raises OSError, Untrusted."""
    left = list(path.absolute().parts[:0:-1])
    links = 0
    folder, reached, custody = os.open("/", _FOLDER), Path("/"), None
    try:
        while True:
            found = Entry(path, left.pop() if left else ".", folder, custody)
            facts = found.facts()
            found = replace(found, custody=_extended(custody, os.fstat(folder), facts, reached, found.name))
            custody = found.custody
            is_link = facts is not None and stat.S_ISLNK(facts.st_mode)
            if not left and not (is_link and follow):
                return found
            if is_link:
                links += 1
                target = _target(found, reached / found.name, links)
                left += target.parts[: 0 if target.is_absolute() else None : -1]
                if not target.is_absolute():
                    continue
                following, reached, custody = os.open("/", _FOLDER), Path("/"), None
            else:
                following = os.open(found.name, _FOLDER, dir_fd=folder)
                reached /= found.name
            os.close(folder)
            folder = following
    except BaseException:
        os.close(folder)
        raise


def _target(found: Entry, link: Path, count: int) -> Path:
    """Return where a link leads that only root can have made. Raises Untrusted."""
    if found.custody is not None:
        raise Untrusted(
            f"{link} is a link, and {found.custody.description}: root follows none there; name what it leads to",
            found.path,
            found.custody,
        )
    if count > MAX_LINKS:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(found.path))
    return Path(os.readlink(found.name, dir_fd=found.folder))


def _extended(
    custody: Custody | None, folder: os.stat_result, entry: os.stat_result | None, reached: Path, name: str
) -> Custody | None:
    """Return the custody of an entry, given that of its folder's path."""
    if custody is not None:
        return replace(custody, uids=custody.uids | {folder.st_uid} - {0})
    found = _writer(folder, reached, is_sticky=bool(folder.st_mode & stat.S_ISVTX))
    if found is None and folder.st_mode & stat.S_ISVTX and entry is not None and entry.st_uid != 0:
        return _of_owner(entry.st_uid, reached / name)  # only the owner may rename or remove it there
    return found


def _writer(facts: os.stat_result, path: Path, *, is_sticky: bool) -> Custody | None:
    """Return who besides root may write this file, or in this folder."""
    if facts.st_uid != 0:
        return _of_owner(facts.st_uid, path)
    if is_sticky or stat.S_ISLNK(facts.st_mode) or _is_read_only(path):
        return None
    if facts.st_mode & stat.S_IWOTH:
        return Custody(path, frozenset({ANYBODY}), f"anybody may write {path}", f"chmod go-w {path}")
    if facts.st_mode & stat.S_IWGRP and not _is_roots_alone(facts.st_gid):
        group = _group_name(facts.st_gid)
        return Custody(path, frozenset({ANYBODY}), f"the group {group} may write {path}", f"chmod g-w {path}")
    return None


def _of_owner(uid: int, path: Path) -> Custody:
    return Custody(path, frozenset({uid}), f"{path} belongs to {account_name(uid)}", f"chown root {path}")


def _is_read_only(path: Path) -> bool:
    """Whether nobody can write there, as in a mounted ConfigMap, whose folder has the mode 0777."""
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _is_roots_alone(gid: int) -> bool:
    """Whether root is the only member of a group, as Debian's OpenSSH asks for StrictModes."""
    if gid == 0:
        return True
    try:
        members = set(grp.getgrgid(gid).gr_mem)
    except KeyError:
        return False
    return not members - {"root"} and not any(entry.pw_gid == gid for entry in pwd.getpwall() if entry.pw_uid != 0)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"gid {gid}"
