"""TCP's corners: a socket that is connected to itself, a reset instead of an orderly end, keepalive."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER, 0 s: close(2) sends RST

# A peer whose machine died is noticed after 90 s, and a firewall that forgets idle connections (often after 5 min or
# an hour) sees a probe each minute. macOS has another name for the first; a platform may have none of them.
_KEEPALIVE = [
    (getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None)), 60),  # seconds until the first probe
    (getattr(socket, "TCP_KEEPINTVL", None), 10),  # seconds between probes
    (getattr(socket, "TCP_KEEPCNT", None), 3),  # probes without an answer
]


def reset(sock: socket.socket) -> None:
    """Close so that the peer sees a reset: a stream that was cut must not look complete."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    sock.close()


def is_self_connected(sock: socket.socket) -> bool:
    """Say whether a socket that just connected is connected to itself (RFC 9293 §3.5, simultaneous open).

    Nothing listens on a port of the ephemeral range of this machine, and the kernel chose that very port for us. To
    be closed by `reset`: an orderly end leaves TIME_WAIT, which would keep the server from starting.
    """
    with contextlib.suppress(OSError):
        return bool(sock.getsockname() == sock.getpeername())
    return False


def connected_to_another(sock: socket.socket) -> socket.socket:
    """Return a socket that just connected; raises ConnectionRefusedError, and closes it, if it is its own peer."""
    if is_self_connected(sock):
        reset(sock)
        raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    return sock


def send_at_once(sock: socket.socket) -> None:
    """Switch Nagle's algorithm off; reading tells that a peer has reset the connection (macOS: EINVAL)."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def keep_alive(sock: socket.socket) -> None:
    """Have the kernel probe an idle peer, as far as it can."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            if option is not None:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
