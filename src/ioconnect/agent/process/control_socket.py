"""Binds the control sockets, and removes them at the end; whoever may enter the folder may connect.

Only called by an agent that took its lock: so a socket of ours on which nobody listens was left by a killed agent.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ioconnect.status.control_folder import SocketRefused, address, check_own, opened

if TYPE_CHECKING:
    from pathlib import Path

BACKLOG = 128  # connections that wait to be accepted
MODE = 0o666


@dataclass(frozen=True, slots=True)
class BoundSocket:
    """A listening socket, and the inode of its file, which may have been replaced since."""

    listener: socket.socket
    path: Path
    inode: tuple[int, int]  # device and number

    def is_there(self) -> bool:
        """Whether clients that look for it at its path find this socket."""
        try:
            facts = self.path.stat(follow_symlinks=False)
        except OSError:
            return False
        return (facts.st_dev, facts.st_ino) == self.inode

    def close(self) -> None:
        """Stop listening, and remove the file if it is still ours."""
        self.listener.close()
        with contextlib.suppress(OSError), opened(self.path.parent) as folder:
            facts = os.stat(self.path.name, dir_fd=folder, follow_symlinks=False)
            if (facts.st_dev, facts.st_ino) == self.inode:
                os.unlink(self.path.name, dir_fd=folder)


def bind(path: Path) -> BoundSocket:
    """Bind and listen; makes the folder (0700) if it is missing, not its parents.

    Raises SocketRefused: the folder is a link, somebody else's or writable by others, or what is at `path` is not a
    socket that an agent of this user left. Raises FileNotFoundError if the folder's parent is missing, OSError.
    """
    with contextlib.suppress(FileExistsError):
        path.parent.mkdir(mode=0o700)
    with contextlib.ExitStack() as undo:
        try:
            folder = undo.enter_context(opened(path.parent))
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise SocketRefused(f"{path.parent} is not a folder, or a link") from error
            raise
        check_own(folder, path.parent)
        listener = undo.enter_context(socket.socket(socket.AF_UNIX))
        name = undo.enter_context(address(folder, path))
        _remove_stale(folder, path, name)
        listener.bind(name)
        facts = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
        os.chmod(path.name, MODE, dir_fd=folder)  # the umask narrowed it; GET is for all who may enter the folder
        listener.listen(BACKLOG)
        bound = socket.socket(fileno=listener.detach())
        bound.setblocking(False)
        return BoundSocket(bound, path, (facts.st_dev, facts.st_ino))


def _remove_stale(folder: int, path: Path, name: str) -> None:
    """Remove the socket that a killed agent left. Raises SocketRefused for anything else that is there."""
    try:
        facts = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(facts.st_mode):
        raise SocketRefused(f"{path} is not a socket: it is left alone")
    if facts.st_uid != os.geteuid():
        raise SocketRefused(f"{path} belongs to another user (uid {facts.st_uid}): it is left alone")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(name)
        except ConnectionRefusedError:
            os.unlink(path.name, dir_fd=folder)
            return
        except FileNotFoundError:
            return
        except BlockingIOError:  # its backlog is full: somebody listens
            pass
    raise SocketRefused(f"another process listens on {path}: it is left alone")
