"""The process at the other end of a Unix socket, as the kernel knows it: its user and, if known, its pid."""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass

_UCRED = struct.Struct("iII")  # pid, uid, gid (unix(7))
_SOL_LOCAL, _LOCAL_PEERPID = 0, 2  # macOS, sys/un.h


@dataclass(frozen=True, slots=True)
class Peer:
    """The process that connected, or of a client's socket the one that listens; `pid` is None if it is not known."""

    uid: int
    pid: int | None


def peer_of(connection: socket.socket) -> Peer:
    """Return who is at the other end of a connected Unix socket: SO_PEERCRED, else getpeereid(3). Raises OSError."""
    if hasattr(socket, "SO_PEERCRED"):
        pid, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        return Peer(uid, pid or None)  # 0: of another pid namespace
    uid = getpeereid(connection.fileno())
    try:
        return Peer(uid, connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID) or None)
    except OSError:
        return Peer(uid, None)


def getpeereid(descriptor: int) -> int:
    """Return the effective user of the peer, where SO_PEERCRED is missing (the BSDs, macOS). Raises OSError."""
    import ctypes  # noqa: PLC0415  not on Linux, where `status` is to start at once

    library = ctypes.CDLL(None, use_errno=True)
    uid, gid = ctypes.c_uint32(), ctypes.c_uint32()
    if library.getpeereid(descriptor, ctypes.byref(uid), ctypes.byref(gid)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return uid.value
