"""What comes off the SSH socket: one buffer of bytes, and the packets in it, decrypted a batch at a time.

Belongs to the loop's thread.
"""

from __future__ import annotations

import mmap
import socket
import struct

from cryptography.exceptions import InvalidTag

from ioconnect.ssh.aes_gcm import BLOCK, LENGTH, TAG, Opener
from ioconnect.ssh.messages import ProtocolViolation

MAX_PACKET = 256 * 1024  # OpenSSH's PACKET_MAX_SIZE
READ_SIZE = 256 * 1024  # taken off the socket in one turn: more would let the other sockets wait
CAPACITY = MAX_PACKET + READ_SIZE
LONGEST_LINE = 8192  # before the key exchange; RFC 4253 §4.2 allows 255
SMALL_READ = 16 * 1024

_U32 = struct.Struct(">I")
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)


class Inbound:
    """What comes in; `opener` is None as long as paramiko does the decrypting.

    `bytes` counts what came since `opener` was set, `seqno` the packets in all (RFC 4253 §6.4). `unacknowledged` says
    that the last read was a small one, whose ACK the kernel may delay.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._is_tcp = sock.family in (socket.AF_INET, socket.AF_INET6)
        # Anonymous maps, not bytearrays: an idle tunnel's buffers have no pages.
        self._buffer = mmap.mmap(-1, CAPACITY)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._arena = mmap.mmap(-1, CAPACITY)
        self._arena_view = memoryview(self._arena)
        self._arena_end = 0
        self.opener: Opener | None = None
        self.bytes = self.seqno = 0
        self.unacknowledged = False

    def fill(self) -> bool:
        """Read what there is, READ_SIZE at most; False if there was nothing. Raises EOFError, OSError.

        The bodies of the packets so far may be overwritten from now on.
        """
        self._arena_end = 0
        start, end = self._start, self._end
        if start == end:
            start = end = 0
        elif CAPACITY - end < READ_SIZE:
            left = end - start
            self._buffer.move(0, start, left)
            start, end = 0, left
        try:
            count = self._sock.recv_into(self._view[end : end + READ_SIZE])
        except BlockingIOError:
            return False
        if not count:
            raise EOFError
        self._start, self._end = start, end + count
        self.unacknowledged = count < SMALL_READ
        return True

    def acknowledge(self) -> None:
        """Have what was read acknowledged at once, as nothing of ours that would carry the ACK is on its way.

        sshd runs Nagle on a session without a terminal: a delayed ACK of ours costs each new connection 40 ms.
        """
        self.unacknowledged = False
        if _QUICKACK is not None and self._is_tcp:
            self._sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def next_packet(self) -> tuple[int, memoryview] | None:
        """Return the next packet's type and body if it is complete; the body is gone after the next `fill`.

        Raises ProtocolViolation for a packet that is damaged, forged or absurd.
        """
        start = self._start
        available = self._end - start
        if available < LENGTH:
            return None
        (size,) = _U32.unpack_from(self._buffer, start)
        if size > MAX_PACKET or size < BLOCK or size % BLOCK:
            raise ProtocolViolation(f"a packet of {size} bytes")
        total = LENGTH + size + TAG
        if available < total:
            return None
        assert self.opener is not None
        view, at = self._view, self._arena_end
        end = at + size
        try:
            self.opener.open(
                view[start + LENGTH : start + total], view[start : start + LENGTH], self._arena_view[at:end]
            )
        except InvalidTag:
            raise ProtocolViolation("a packet fails its integrity check") from None
        self._start = start + total
        self._arena_end = end
        self.bytes += total
        self.seqno += 1
        padding = self._arena[at]
        if padding < 4 or padding + 2 > size:  # noqa: PLR2004  RFC 4253 §6: at least four, and room for the type
            raise ProtocolViolation(f"{padding} bytes of padding in a packet of {size}")
        return self._arena[at + 1], self._arena_view[at + 2 : end - padding]

    def count(self, size: int) -> None:
        """Count a packet of `size` bytes."""
        self.bytes += size
        self.seqno += 1

    def waiting(self) -> bool:
        """Whether there are bytes that were read from the socket and not parsed."""
        return self._end > self._start

    def take(self, count: int) -> bytes | None:
        """Return exactly `count` bytes (at most MAX_PACKET) as they came, None if they are not there yet."""
        if count < 0 or count > MAX_PACKET:
            raise ProtocolViolation(f"a packet of {count} bytes")
        start = self._start
        if self._end - start < count:
            return None
        self._start = start + count
        return self._buffer[start : start + count]

    def take_line(self) -> bytes | None:
        """Return the next line without its end, None if it is not there yet. Raises ProtocolViolation if endless."""
        start = self._start
        end = self._buffer.find(b"\n", start, self._end)
        if (self._end if end < 0 else end) - start > LONGEST_LINE:
            raise ProtocolViolation("an endless line where the SSH version should be")
        if end < 0:
            return None
        self._start = end + 1
        return self._buffer[start:end].rstrip(b"\r")

    def key(self, opener: Opener | None) -> None:
        """Switch to new keys, None for a cipher that is paramiko's."""
        self.opener = opener
        self.bytes = 0

    def release(self) -> None:
        """Let go of the buffers; nothing may be called afterwards."""
        del self._buffer, self._view, self._arena, self._arena_view
