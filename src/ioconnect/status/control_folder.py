"""The folder of a control socket: opened without following a link, judged by its owner and mode.

A Unix socket's address holds 108 bytes (unix(7), sun_path; 104 on macOS), less than many a path. So the socket is
addressed through the folder's descriptor, which also cannot be replaced between the check and the use.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.custody.entries import custody_of
from ioconnect.errors import ExitCode, Fault
from ioconnect.status.peer_credentials import peer_of

if TYPE_CHECKING:
    from collections.abc import Iterator

DESCRIPTORS = Path("/proc/self/fd")
MAX_ADDRESS = 100  # bytes of a path that fits into sun_path on every system
WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class SocketRefused(Fault):
    """The control socket, or its folder, is not what it must be."""

    exit_code = ExitCode.OS_ERROR


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[int]:
    """Yield a descriptor of the folder itself, never of what a link leads to. Raises OSError."""
    descriptor = os.open(folder, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def address(folder: int, path: Path) -> Iterator[str]:
    """Yield an address of the socket `path` in its open folder that fits into sun_path.

    Where there is no /proc, a long path is shortened by a link in a private temporary folder.
    """
    if DESCRIPTORS.is_dir():
        yield f"{DESCRIPTORS}/{folder}/{path.name}"
    elif len(os.fsencode(path)) <= MAX_ADDRESS:
        yield str(path)
    else:
        import tempfile  # noqa: PLC0415  brings random and bz2, and Linux needs none of it

        with tempfile.TemporaryDirectory(prefix="ioc-", dir="/tmp") as private:
            link = Path(private, "d")
            link.symlink_to(path.parent)
            yield str(link / path.name)


def check_own(folder: int, path: Path) -> None:
    """Check that a socket may be bound in the folder: it is ours, nobody else may write. Raises SocketRefused.

    At each start of a pod fsGroup lets a group write in the folders of a volume: from ours that is taken back.
    """
    facts = os.fstat(folder)
    if facts.st_uid != os.geteuid():
        raise SocketRefused(f"the folder {path} belongs to another user (uid {facts.st_uid})")
    if facts.st_mode & (WRITABLE_BY_OTHERS | stat.S_ISGID) == stat.S_IWGRP | stat.S_ISGID:  # fsGroup of Kubernetes
        with contextlib.suppress(OSError):
            os.chmod(".", 0o700, dir_fd=folder)
            facts = os.fstat(folder)
    _check_mode(facts, path)


def check_trusted(folder: int, path: Path) -> int:
    """Check that a client may talk to the socket `path` in this folder, and return the user of its agent.

    Trusted are root, this user, and the account for which root made the folder, as systemd does in /run. Raises
    SocketRefused; FileNotFoundError if there is no socket.
    """
    facts = os.fstat(folder)
    _check_mode(facts, path.parent)
    if facts.st_uid not in (0, os.geteuid()) and custody_of(path.parent.parent) is not None:  # not root made it
        raise SocketRefused(f"the folder {path.parent} belongs to another user (uid {facts.st_uid})")
    own = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISSOCK(own.st_mode):
        raise SocketRefused(f"{path} is not a socket")
    if own.st_uid not in (0, os.geteuid(), facts.st_uid):
        raise SocketRefused(f"the socket {path} belongs to another user (uid {own.st_uid})")
    return own.st_uid


def connected(path: Path, timeout: float) -> socket.socket:
    """Return a connection to the socket, whose listener is who may own it. Raises OSError, SocketRefused."""
    with contextlib.ExitStack() as undo, opened(path.parent) as folder:
        connection = undo.enter_context(socket.socket(socket.AF_UNIX))
        owner = check_trusted(folder, path)
        connection.settimeout(max(0.001, timeout))
        with address(folder, path) as name:
            connection.connect(name)
        uid = peer_of(connection).uid
        if uid not in (0, os.geteuid(), owner):
            raise SocketRefused(f"a process of another user (uid {uid}) listens on {path}")
        undo.pop_all()
        return connection


def _check_mode(facts: os.stat_result, path: Path) -> None:
    """Check the mode of the open folder, which nobody shares: not even with a group whose only member is root."""
    if facts.st_mode & WRITABLE_BY_OTHERS:
        raise SocketRefused(f"others may write in the folder {path}", hint=f"chmod go-w {shlex.quote(str(path))}")
