"""Finds what a path leads to; for root component by component, so that no other account decides where root goes.

From the first folder on in which somebody but root may replace what lies in it, a path is in that account's custody:
there root follows no link, and what it opens must be a file of that account with one name. A component is opened by
the descriptor of its folder (openat(2), O_NOFOLLOW), so it cannot be replaced between the check and the use; and what
was opened is judged once more, as in a folder where others may add entries another one may have come.

Any other user than root leaves the path to the kernel: nobody gains by what that user may do anyway.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.custody.remedies import move, remedy
from ioconnect.custody.writers import ANYBODY, SYSTEM_UIDS, account_name, writers
from ioconnect.errors import ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINKS = 40  # as many as Linux follows (path_resolution(7))
OTHER_ACCOUNT = "or run it as an account of its own (install-service --run-as ACCOUNT)"
_ROOT = frozenset({0})
_COPY = "Name a copy of it: who may add names there may have added this one."
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Untrusted(ConfigInvalid):
    """Root does not use this path; `strerror` says which component is wrong, and whose it is.

    Not an OSError: who reads on without what cannot be read must say so of this one too.
    """

    def __init__(self, why: str, path: Path, custody: Custody, *, hint: str = "") -> None:
        super().__init__(f"root does not use {path}: {why}", hint=hint or f"{custody.remedy}, {OTHER_ACCOUNT}.")
        self.strerror = why
        self.custody = custody


@dataclass(frozen=True, slots=True)
class Custody:
    """Who besides root may replace what a path leads to, and the first component where that is so."""

    component: Path
    uids: frozenset[int]
    description: str  # "/srv/app belongs to deploy"
    remedy: str  # what to do, as half a sentence: a command only where it takes nothing from anybody


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in an open folder; without a folder (not root) the whole path, which the kernel resolves."""

    path: Path
    name: str
    folder: int | None = None
    custody: Custody | None = None
    resolved: Path = Path()  # without links; only root may change it unless `custody` is set
    above: Custody | None = None  # of the folder's path: who may replace every name in it
    may_add: Custody | None = None  # who may add names to it, and replace only what is theirs (a sticky folder)
    error: OSError | None = None  # why the path could not be followed further

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

    def opened(self, facts: os.stat_result, *, own: bool = False) -> Entry:
        """Return the entry with the custody of what was opened; for root check that it is that account's.

        It must have one name, and belong to the account that may replace it, or to root: with `own` not to root,
        whose file that account may have moved there. Raises Untrusted.
        """
        if self.folder is None:
            return self
        custody = _of_entry(self.above, self.may_add, facts, self.path)
        other = custody or self.may_add
        if other is not None and _may_be_anybodys(facts):
            names = f"it has {facts.st_nlink} names (hard links)"
            raise Untrusted(f"{names}, and {other.description}", self.path, other, hint=_COPY)
        if custody is None:
            return replace(self, custody=None)
        allowed = custody.uids if own else custody.uids | {0}
        if facts.st_uid not in allowed and (own or ANYBODY not in allowed):
            raise Untrusted(
                f"it belongs to {account_name(facts.st_uid)}, and {custody.description}",
                self.path,
                custody,
                hint="Both must belong to one account, or to root.",
            )
        return replace(self, custody=custody)

    def check_writers(self, trusted: frozenset[int], opened: tuple[int, os.stat_result] | None = None) -> None:
        """Check that nobody but root and the `trusted` accounts can change what lies here; for root only.

        `opened` is the descriptor of the entry and what fstat(2) says of it. Raises Untrusted.
        """
        if self.folder is None:
            return
        custody = self.custody
        if custody is None and opened is not None:
            custody = _writer(opened[1], self.path, opened[0], _ROOT | trusted)
        if custody is not None and not custody.uids <= trusted:
            raise Untrusted(custody.description, self.path, custody)

    def is_below_services(self) -> bool:
        """Whether only accounts of services may replace the folder, which is root's, and nobody else writes in it.

        As /var/log/ioconnect where /var/log is the group syslog's (Ubuntu): such an account may put another folder
        of root's in its place, and reads logs anyway.
        """
        if self.folder is None or self.above is None or not self.above.uids <= set(SYSTEM_UIDS):
            return False
        facts = os.fstat(self.folder)
        return facts.st_uid == 0 and not facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


@contextlib.contextmanager
def entry(path: Path, *, follow: bool, trusted: frozenset[int] | None = None) -> Iterator[Entry]:
    """Yield the entry that the path leads to, which need not exist; its folder does.

    `follow`: also a link at the end, if only root can have made it. `trusted`: only an entry that nobody but root and
    these accounts may replace, or make. Raises OSError, Untrusted.
    """
    if os.geteuid() != 0:
        yield Entry(path, os.fspath(path))
        return
    found = _resolve(path, follow=follow)
    assert found.folder is not None
    try:
        if trusted is not None:
            found.check_writers(trusted)
            # In the folder of a trusted account, others may write by the mode of a folder or file further on.
            others = custody_of(path, trusted=trusted) if found.custody is not None else None
            if others is not None:
                raise Untrusted(others.description, path, others)
        if found.error is not None:
            raise found.error
        yield found
    finally:
        os.close(found.folder)


def custody_of(path: Path, *, trusted: frozenset[int] = frozenset()) -> Custody | None:
    """Return who besides root and the `trusted` accounts may change what lies at the path; None if nobody.

    Judges every folder and link on the way, and the file itself. A path that does not exist is judged as far as it
    does. Works for any user; what root cannot look at anybody may change.
    """
    owners = _ROOT | trusted
    try:
        found = _resolve(path, follow=True, owners=owners)
    except Untrusted as untrusted:
        return untrusted.custody
    except OSError as error:
        return _unknown(path, error)
    assert found.folder is not None
    try:
        custody, end = found.custody, found.error
        if end is not None and not isinstance(end, (FileNotFoundError, NotADirectoryError)):
            return custody or _unknown(path, end)
        facts = None if custody is not None else found.facts()
        if custody is None and found.may_add is not None and _may_be_anybodys(facts):
            return replace(found.may_add, remedy=move())
        return custody if facts is None or end is not None else _writer(facts, path, found.resolved, owners)
    except OSError as error:
        return _unknown(path, error)
    finally:
        os.close(found.folder)


def _resolve(path: Path, *, follow: bool, owners: frozenset[int] = _ROOT) -> Entry:
    """Return the entry, whose folder the caller closes; its `error` if a component cannot be entered.

    What `owners` may change is in nobody's custody. Raises Untrusted, and OSError for `/`.
    """
    left = list(path.absolute().parts[:0:-1])
    links = 0
    folder, reached, above = os.open("/", _FOLDER), Path("/"), None
    try:
        while True:
            name = left.pop() if left else "."
            above, may_add = _replacers(above, os.fstat(folder), reached, owners, is_last=not left)
            found = Entry(path, name, folder, above, reached / name, above, may_add)
            try:
                facts = found.facts()
                found = replace(found, custody=_of_entry(above, may_add, facts, reached / name, owners))
                is_link = facts is not None and stat.S_ISLNK(facts.st_mode)
                if not left and not (is_link and follow):
                    return found
                if is_link:
                    links += 1
                    target = _target(found, facts, links)
                    left += target.parts[: 0 if target.is_absolute() else None : -1]
                    if not target.is_absolute():
                        continue
                    following, reached, above = os.open("/", _FOLDER), Path("/"), None
                else:
                    following = os.open(name, _FOLDER, dir_fd=folder)
                    reached = reached.parent if name == ".." else reached / name
            except OSError as error:
                return replace(found, error=error)
            os.close(folder)
            folder = following
    except BaseException:
        os.close(folder)
        raise


def _target(found: Entry, facts: os.stat_result | None, count: int) -> Path:
    """Return where a link leads that only root can have made. Raises OSError, Untrusted."""
    other = found.custody or (found.may_add if facts is not None and facts.st_nlink != 1 else None)
    if other is not None:
        raise Untrusted(
            f"{found.resolved} is a link, and {other.description}: root follows none there",
            found.path,
            other,
            hint="Name what it leads to: who may add names there may have added this link.",
        )
    if count > MAX_LINKS:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(found.path))
    return Path(os.readlink(found.name, dir_fd=found.folder))


def _replacers(
    above: Custody | None, facts: os.stat_result, folder: Path, owners: frozenset[int], *, is_last: bool
) -> tuple[Custody | None, Custody | None]:
    """Return who may replace every name in a folder, and who may only add names (sticky); `above`: the folder itself.

    `is_last`: it holds what the path leads to.
    """
    if above is not None:
        return replace(above, uids=above.uids | {facts.st_uid} - {0}), None
    found = _writer(facts, folder, folder, owners)
    if found is not None and not is_last:
        found = replace(found, remedy=move())
    if facts.st_uid in owners and facts.st_mode & stat.S_ISVTX:
        return None, found
    return found, None


def _of_entry(
    above: Custody | None,
    may_add: Custody | None,
    facts: os.stat_result | None,
    path: Path,
    owners: frozenset[int] = _ROOT,
) -> Custody | None:
    """Return who may replace an entry: who may replace all in its folder, or in a sticky one its owner."""
    if above is None and may_add is not None and facts is not None and facts.st_uid not in owners:
        return replace(_of_owner(facts, path), remedy=move())
    return above


def _may_be_anybodys(facts: os.stat_result | None) -> bool:
    """Whether somebody may have put it into a sticky folder, or can: it is missing, or has several names."""
    return facts is None or (facts.st_nlink != 1 and not stat.S_ISDIR(facts.st_mode))


def _writer(facts: os.stat_result, path: Path, where: Path | int, owners: frozenset[int] = _ROOT) -> Custody | None:
    """Return who besides these may change this file, or write in this folder; `where` is as for `writers`."""
    if facts.st_uid not in owners:
        return _of_owner(facts, path)
    found = writers(facts, where)
    if found is None or found.uids <= owners:
        return None
    return Custody(path, found.uids, f"{found.who} may write {path}", remedy(found.command, facts, path))


def _of_owner(facts: os.stat_result, path: Path) -> Custody:
    description = f"{path} belongs to {account_name(facts.st_uid)}"
    own = os.geteuid()
    command = "chown root" if own == 0 else f"sudo chown {account_name(own).removeprefix('uid ')}"
    return Custody(path, frozenset({facts.st_uid}), description, remedy(command, facts, path))


def _unknown(path: Path, error: OSError) -> Custody | None:
    if os.geteuid() != 0:
        return None
    description = f"it cannot be told who may change {path}: {error.strerror}"
    return Custody(path, frozenset({ANYBODY}), description, move())
