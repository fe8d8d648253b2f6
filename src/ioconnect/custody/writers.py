"""Who besides its owner may write a file, or in a folder: by its mode, the members of its group, its list (ACL).

What cannot be told counts as everybody: a group whose members cannot be listed, a list that cannot be read. Lists of
macOS are not read.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import re
import stat
import struct
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.custody.mounts import is_kubernetes_volume
from ioconnect.custody.one_look import once
from ioconnect.escape import escaped

if TYPE_CHECKING:
    from collections.abc import Iterator

ANYBODY = -1  # as a uid
_EVERYBODY = frozenset({ANYBODY})
_GROUP_FILE = Path("/etc/group")
_NSSWITCH = Path("/etc/nsswitch.conf")
_LISTED = {"files", "compat", "db", "altfiles", "systemd"}  # getpwent(3) returns every account of these sources
# The group of people: a directory service gives it to its accounts as their first one. 100 but for Arch Linux.
_USERS_NAME, _USERS_GID = "users", 100
# Red Hat and Alpine give these accounts the group 0: for a program that they name as their shell, and no process.
_IDLE = {"sync", "shutdown", "halt", "operator"}
_NO_LIST = {errno.ENODATA, errno.EOPNOTSUPP, errno.ENOSYS}
_POSIX, _NFS4 = "system.posix_acl_access", "system.nfs4_acl"
# acl(5), and the kernel's posix_acl_xattr.h
_USER, _GROUP_OBJ, _GROUP, _MASK, _WRITE = 2, 4, 8, 16, 2
# RFC 8881, 6.2.1: WRITE_DATA, APPEND_DATA, DELETE_CHILD, DELETE, WRITE_ACL, WRITE_OWNER
_NFS4_WRITE = 0x2 | 0x4 | 0x40 | 0x10000 | 0x40000 | 0x80000
_NFS4_ALLOW, _NFS4_INHERIT_ONLY = 0, 0x8
_NFS4_JUDGED_BY_MODE = {"OWNER@", "GROUP@"}
_ROOT_NAMES = {"root", "0"}


def system_ids(platform: str) -> range:
    """Return the uids and gids of services: up to SYS_UID_MAX of login.defs(5); users of macOS begin at 501."""
    return range(1, 501 if platform == "darwin" else 1000)


SYSTEM_UIDS = system_ids(sys.platform)


@dataclass(frozen=True, slots=True)
class Writers:
    """Accounts, by uid; `who` they are in words, and the command that ends it, but for the path."""

    uids: frozenset[int]
    who: str
    command: str


def writers(facts: os.stat_result, where: Path | int) -> Writers | None:
    """Return who besides root and the owner may write the file or folder; None if nobody.

    `where` is its descriptor, or a path that only root can change; the last component is not followed.
    """
    if stat.S_ISLNK(facts.st_mode):
        return None
    found = list(_found(facts, where))
    if not found or is_kubernetes_volume(where):
        return None
    return replace(found[0], uids=frozenset().union(*(each.uids for each in found)))


def _found(facts: os.stat_result, where: Path | int) -> Iterator[Writers]:
    if facts.st_mode & stat.S_IWOTH:
        yield Writers(_EVERYBODY, "anybody", "chmod go-w")
    group_writes = bool(facts.st_mode & stat.S_IWGRP)
    try:
        entries = _posix_entries(_attribute(where, _POSIX)) if group_writes else []
        nfs4 = _nfs4_writer(_attribute(where, _NFS4))
    except (OSError, ValueError, struct.error):
        yield Writers(_EVERYBODY, "anybody (its access control list cannot be read)", "chmod go-w")
        return
    # The group's bits of a file with a list are the most that the list grants (acl(5)).
    if entries:
        yield from _named(entries)
        group_writes = any(tag == _GROUP_OBJ and bits & _WRITE for tag, bits, _ in entries)
    if nfs4:
        yield Writers(_EVERYBODY, f"{escaped(nfs4)} (in its access control list)", "remove that entry of the list of")
    if group_writes:
        members = group_members(facts.st_gid)
        if members:
            yield Writers(members, f"the group {_group_name(facts.st_gid)}", "chmod g-w")


@once
def group_members(gid: int) -> frozenset[int]:
    """Return the uids of the accounts in a group but root; ANYBODY if they cannot all be told."""
    try:
        group = grp.getgrgid(gid)
        name, names = group.gr_name, set(group.gr_mem)
    except KeyError:
        if gid != 0:
            return _EVERYBODY
        name, names = "", set()  # a container without group(5)
    if gid != 0 and not _are_accounts_listed():
        if _is_own_group(name, gid):
            names.add(name)
        elif not _is_system_group(gid):
            return _EVERYBODY
    found = [each for each in pwd.getpwall() if each.pw_gid == gid or each.pw_name in names]
    try:
        found += [pwd.getpwnam(each) for each in names - {each.pw_name for each in found}]  # a directory lists none
    except KeyError:
        return _EVERYBODY
    idle = _IDLE - names if gid == 0 else set()
    return frozenset(each.pw_uid for each in found if each.pw_uid != 0 and each.pw_name not in idle)


def _is_own_group(name: str, gid: int) -> bool:
    """Whether a group is that of the account of its name, and of nobody else by the custom (user private groups)."""
    try:
        return pwd.getpwnam(name).pw_gid == gid
    except KeyError:
        return False


def _is_system_group(gid: int) -> bool:
    """Whether a group is one of this machine's services, to which a directory service adds nobody.

    Not `users`: an account of the directory may have that as its first group, and is listed nowhere.
    """
    if gid not in SYSTEM_UIDS or gid == _USERS_GID:
        return False
    try:
        rows = _GROUP_FILE.read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    names = [row.split(":")[0] for row in rows if row.split(":")[2:3] == [str(gid)]]
    return bool(names) and _USERS_NAME not in names


def _are_accounts_listed() -> bool:
    """Whether getpwent(3) returns all accounts: a directory service need not list its own (nsswitch.conf(5))."""
    try:
        text = _NSSWITCH.read_text("ascii", "replace")
    except FileNotFoundError:  # musl has none, and glibc takes passwd(5) then
        return True
    except OSError:
        return False
    rows = re.findall(r"^(?:passwd|group):([^#\n]*)", text, re.MULTILINE)
    return all(source in _LISTED for row in rows for source in re.sub(r"\[[^]\n]*\]", " ", row).split())


@once
def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"gid {gid}"


def _attribute(where: Path | int, name: str) -> bytes:
    """Return an extended attribute; nothing if there is none. Raises OSError."""
    if not hasattr(os, "getxattr"):
        return b""
    try:
        if isinstance(where, int):
            return os.getxattr(where, name)
        return os.getxattr(where, name, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_LIST:
            return b""
        raise


def _posix_entries(attribute: bytes) -> list[tuple[int, int, int]]:
    """Return the entries of a POSIX list: tag, permissions, id. Raises struct.error."""
    return list(struct.iter_unpack("<HHI", attribute[4:]))


def posix_list(where: Path | int) -> list[tuple[int, int, int]]:
    """Return the entries of a POSIX list (tag, permissions, id), none without one. Raises OSError, struct.error."""
    return _posix_entries(_attribute(where, _POSIX))


def _named(entries: list[tuple[int, int, int]]) -> Iterator[Writers]:
    """Yield the accounts and groups that a list names and lets write."""
    if any(tag == _MASK and not bits & _WRITE for tag, bits, _ in entries):
        return
    for tag, bits, number in entries:
        if not bits & _WRITE:
            continue
        if tag == _USER and number != 0:
            yield Writers(
                frozenset({number}), f"the account {account_name(number)} (in its access control list)", "setfacl -b"
            )
        if tag == _GROUP and (members := group_members(number)):
            yield Writers(members, f"the group {_group_name(number)} (in its access control list)", "setfacl -b")


def account_name(uid: int) -> str:
    """Return the account's name; `uid N` for one without."""
    if uid == ANYBODY:
        return "anybody"
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _nfs4_writer(attribute: bytes) -> str:
    """Return the first name in a list of NFSv4 that may write and that the mode does not tell of.

    The attribute is in XDR, as it came (RFC 4506; nfs4_acl(5)). Raises ValueError, struct.error.
    """
    if not attribute:
        return ""
    (count,), at = struct.unpack_from(">I", attribute), 4
    for _ in range(count):
        kind, flags, mask, length = struct.unpack_from(">IIII", attribute, at)
        at += 16
        name = attribute[at : at + length].decode("utf-8", "backslashreplace")
        if len(attribute) < at + length:
            raise ValueError("it ends early")
        at += length + -length % 4
        grants = kind == _NFS4_ALLOW and not flags & _NFS4_INHERIT_ONLY and mask & _NFS4_WRITE
        if grants and name not in _NFS4_JUDGED_BY_MODE and name.split("@")[0] not in _ROOT_NAMES:
            return name
    return ""
