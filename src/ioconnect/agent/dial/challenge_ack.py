"""The challenge ACK, seen from the side that causes it.

Who dials from the port of a connection that the peer still thinks alive gets a challenge ACK (RFC 5961 §4) and
answers it with a RST, which ends the old connection at the peer. The new one still has to be asked for by another
SYN, and the kernel sends that only when its timer says so, a second later or three; who knows may dial at once.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys

_SYN_SENT = 2  # net/tcp_states.h
_SEGMENTS_IN = struct.Struct("=B139xI")  # linux/tcp.h, struct tcp_info: tcpi_state … tcpi_segs_in


def was_challenged(sock: socket.socket) -> bool:
    """Say whether something answered this connecting socket, and it still connects.

    A SYN-ACK or a RST would have ended its waiting, so it was a challenge. Linux tells; elsewhere always False.
    """
    if sys.platform != "linux":
        return False
    with contextlib.suppress(OSError):
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SEGMENTS_IN.size)
        if len(info) == _SEGMENTS_IN.size:  # an older kernel tells less
            state, segments = _SEGMENTS_IN.unpack(info)
            return bool(state == _SYN_SENT and segments > 0)
    return False
