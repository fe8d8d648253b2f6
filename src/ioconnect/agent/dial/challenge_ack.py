"""Detects that a connecting socket was answered with a challenge ACK (RFC 5961 §4).

A SYN from the address and port of a connection that the peer still has as established gets a challenge ACK. Our
kernel answers it with a RST, which ends the old connection at the peer. The new connection then needs another SYN,
which the kernel sends only at its next retransmission, after 1 to 3 s; a new socket sends one at once.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys

_SYN_SENT = 2  # net/tcp_states.h
_SEGMENTS_IN = struct.Struct("=B139xI")  # linux/tcp.h, struct tcp_info: tcpi_state … tcpi_segs_in


def was_challenged(sock: socket.socket) -> bool:
    """Say whether a connecting socket received a segment and still connects.

    A SYN-ACK or RST would have ended the connect, so it was a challenge ACK. Linux only; elsewhere always False.
    """
    if sys.platform != "linux":
        return False
    with contextlib.suppress(OSError):
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SEGMENTS_IN.size)
        if len(info) == _SEGMENTS_IN.size:  # older kernels have a shorter tcp_info
            state, segments = _SEGMENTS_IN.unpack(info)
            return bool(state == _SYN_SENT and segments > 0)
    return False
