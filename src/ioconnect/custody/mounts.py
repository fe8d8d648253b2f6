"""Mounts in which nobody writes although their folder has the mode 0777: ConfigMaps of Kubernetes.

That a mount is read-only says nothing by itself: a folder of the host's is written there, and read here; a tmpfs, as
/run, is read-only for a service of systemd; an emptyDir of a pod is written by another container. What the kubelet
writes ("atomic writer") is in a folder that is named by the time, to which `..data` leads, a link of root's. In an
emptyDir there may be such a link too. So a tmpfs is judged as any other folder: that of a Secret is root's, with the
sticky bit, and so are the links and files in it.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from ioconnect.custody.one_look import once

_MOUNTS = Path("/proc/self/mountinfo")
_MAX_MOUNTS = 4 << 20  # bytes
# The folder of a pod's volume on its node, which only root enters, as the root of the mount.
_VOLUME = re.compile(r"(/.+)?/volumes/kubernetes\.io~(configmap|secret|projected|downward-api)/[^/]+(/.*)?")
_VERSION = r"\.\.\d{4}(_\d\d){5}\.\d+"
# With subPath the root of the mount is a file in that folder.
_WITH_VERSION = re.compile(rf"/(.+/)?{_VERSION}/.+")
_OCTAL = re.compile(r"\\([0-7]{3})")


def is_kubernetes_volume(where: Path | int) -> bool:
    """Whether a folder or file, by its path without links or its descriptor, is in such a mount."""
    mount = _mount_at(where)
    return mount is not None and _is_kubernetes(mount)


def may_be_secret(where: Path | int) -> bool:
    """Whether a file, as for `is_kubernetes_volume`, is in a read-only mount as Kubernetes makes for Secrets.

    It is a file of root's. An emptyDir in memory may look the same: its modes are to be judged as those of any file.
    """
    mount = _mount_at(where)
    if mount is None or not _is_written_by_kubelet(mount):
        return False
    kind = mount[mount.index("-") + 1] if "-" in mount else ""
    root = _plain(mount[3])
    is_tmpfs = kind == "tmpfs" and (root == "/" or root.startswith("/.."))
    return (is_tmpfs or _VOLUME.fullmatch(root) is not None) and _is_roots(where)


def _mount_at(where: Path | int) -> list[str] | None:
    """Return the fields (proc_pid_mountinfo(5)) of the mount that a path is in."""
    try:
        path = Path(f"/proc/self/fd/{where}").readlink() if isinstance(where, int) else where
        mounts = _mounts()
    except OSError:
        return None
    around = {path, *path.parents}
    found, longest = None, -1
    for point, fields in mounts:
        if point in around and len(point.parts) >= longest:  # a later one covers it
            found, longest = fields, len(point.parts)
    return found


@once
def _mounts() -> list[tuple[Path, list[str]]]:
    """Return the mount points with their fields. Raises OSError."""
    with _MOUNTS.open(encoding="utf-8", errors="surrogateescape") as file:
        lines = file.read(_MAX_MOUNTS).splitlines()
    rows = [line.split(" ") for line in lines]
    return [(Path(_plain(row[4])), row) for row in rows if len(row) >= 10]  # noqa: PLR2004  as many has every line


def _is_kubernetes(fields: list[str]) -> bool:
    return _is_written_by_kubelet(fields) and _VOLUME.fullmatch(_plain(fields[3])) is not None


def _is_written_by_kubelet(fields: list[str]) -> bool:
    """Whether nobody writes in the mount, and it has the folders of the kubelet."""
    if "ro" not in fields[5].split(","):
        return False
    if _WITH_VERSION.fullmatch(_plain(fields[3])):
        return True
    link = Path(_plain(fields[4]), "..data")
    try:
        return link.lstat().st_uid == 0 and re.fullmatch(_VERSION, os.fspath(link.readlink())) is not None
    except OSError:
        return False


def _is_roots(where: Path | int) -> bool:
    try:
        facts = os.fstat(where) if isinstance(where, int) else where.lstat()
    except OSError:
        return False
    return facts.st_uid == 0 and stat.S_ISREG(facts.st_mode)


def _plain(field: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), field)
