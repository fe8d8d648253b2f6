"""Connects to a target that is a Unix socket, and explains a failure: no such file, not permitted, refused.

Blocks the calling thread until the given deadline at most (a time.monotonic()).
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import socket
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.agent.tunnel.target_health import socket_hint
from ioconnect.errors import TargetUnreachable
from ioconnect.escape import escaped, escaped_path

if TYPE_CHECKING:
    from ioconnect.config.addresses import SocketPath

RETRY_DELAY = 0.05  # seconds; no event tells that there is room in a server's queue again
KINDS = {stat.S_IFREG: "a file", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe"}


def connect(target: SocketPath, deadline: float) -> socket.socket:
    """Return a blocking socket connected to the target. Raises TargetUnreachable."""
    try:
        return connected(target, deadline)
    except OSError as error:
        code = error.errno or errno.EIO
        raise TargetUnreachable(
            f"cannot connect to the database at {escaped(str(target))}: {_why(Path(target.path), code)}",
            hint=socket_hint({code}),
        ) from None


def connected(target: SocketPath, deadline: float) -> socket.socket:
    """Return the same. Raises OSError."""
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)  # or a full queue would hold it up for ever
        code = sock.connect_ex(target.path)
        if code == 0:
            sock.setblocking(True)
            return sock
        sock.close()
        if code != errno.EAGAIN or time.monotonic() + RETRY_DELAY >= deadline:
            raise OSError(code, os.strerror(code))
        time.sleep(RETRY_DELAY)


def shared_folder(target: SocketPath) -> Path | None:
    """Return the folder in which any account may make the socket, or another in its place; None if there is none."""
    path = Path(target.path)
    for each in (path, path.resolve()):  # a link's own folder, and that of what it leads to
        for folder in each.parents:
            with contextlib.suppress(OSError):  # gone since
                mode = folder.stat().st_mode
                if mode & stat.S_IWOTH and (folder == each.parent or not mode & stat.S_ISVTX):
                    return folder
    return None


def _why(path: Path, code: int) -> str:
    """Return what is wrong with the path, as far as this account may see it."""
    if code == errno.ENOENT:
        missing = [folder for folder in path.parents if not folder.exists()]
        return f"there is no folder {escaped_path(missing[-1])}" if missing else "there is no such file"
    if code in (errno.EACCES, errno.EPERM):
        return _forbidden(path)
    if code == errno.EAGAIN:
        return "its queue of new connections is full"
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except OSError as error:
        return str(error.strerror)
    if kind != stat.S_IFSOCK:
        return f"it is {KINDS.get(kind, 'a device')}, not a socket"
    return "nothing listens on it" if code == errno.ECONNREFUSED else os.strerror(code)


def _forbidden(path: Path) -> str:
    """Return which account may not do what."""
    try:
        account = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        account = f"of uid {os.geteuid()}"
    closed = next((folder for folder in reversed(path.parents) if not os.access(folder, os.X_OK)), None)
    if closed is not None:
        return f"the account {account} may not enter {escaped_path(closed)}"
    return f"the account {account} may not write to it"
