"""What goes to the SSH socket: messages and database bytes, sealed in order into one buffer, sent with few calls.

Between our KEXINIT and the peer's NEWKEYS (`in_key_exchange`) nothing but key exchange may be sent (RFC 4253 §7.1;
OpenSSH 10.4 and later disconnect for it), so messages are queued and follow in order, and no data is taken.
Belongs to the loop's thread.
"""

from __future__ import annotations

import contextlib
import mmap
import struct
from collections import deque
from typing import TYPE_CHECKING

from ioconnect.ssh.aes_gcm import LENGTH, OVERHEAD, TAG, Sealer, padding_for
from ioconnect.ssh.messages import MSG_DATA, PACKET_SIZE, ProtocolViolation, string

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

FRAMES = 8  # full packets sealed into one send
BATCH = FRAMES * PACKET_SIZE
DATA_HEADER = LENGTH + 1 + 1 + 4 + 4  # length, padding length, type, channel, data length
FRAME = DATA_HEADER + PACKET_SIZE + 19
CAPACITY = FRAMES * (FRAME + TAG) + 64 * 1024
LIMIT = 4 << 20  # bytes that are queued for a peer that does not read, before it is disconnected
MSG_DISCONNECT = b"\1"

_HEADER = struct.Struct(">IBBII")
_U32 = struct.Struct(">I")
_ZEROS = bytes(20)


class Payload:
    """Bytes that paramiko's `send_message` takes for a Message."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def asbytes(self) -> bytes:
        """Return the payload."""
        return self._data


class Outbound:
    """What goes out; `sealer` is None as long as paramiko does the encrypting, which is what `generic` is for.

    `congested` says that the last flush left something behind, `sent_something` that something was sent since it was
    cleared. `bytes` counts what was sealed since `sealer` was set, `seqno` the fast path's packets (RFC 4253 §6.4).
    """

    def __init__(self, sock: socket.socket, generic: Callable[[bytes], None]) -> None:
        self._sock = sock
        self._generic = generic
        # Anonymous maps, not bytearrays: an idle tunnel's buffers have no pages.
        self._frames = mmap.mmap(-1, FRAME * FRAMES)
        self._frames_view = view = memoryview(self._frames)
        self._slots = slots = [view[at : at + PACKET_SIZE] for at in range(DATA_HEADER, FRAME * FRAMES, FRAME)]
        self.first_slot = slots[0]  # PACKET_SIZE bytes
        self._buffer = mmap.mmap(-1, CAPACITY)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self.sealer: Sealer | None = None
        self.bytes = self.seqno = 0
        self.sent_something = False
        self.in_key_exchange = False
        self.key_exchange_began = 0.0  # time.monotonic() of the latest
        self.congested = False

    # --- messages

    def queue(self, payload: bytes) -> None:
        """Send one message, in order with all others; it leaves with the next flush."""
        if not self.in_key_exchange:
            self.send(payload)
            return
        self._held_bytes += len(payload)
        if self._held_bytes > LIMIT:
            raise ProtocolViolation("it makes us answer, but does not finish its key exchange")
        self._held.append(payload)

    def send(self, payload: bytes) -> None:
        """Seal one message now: for key exchange, which may be sent while all else is queued."""
        sealer = self.sealer
        if sealer is None:
            self._generic(payload)  # comes back to `append`
            return
        padding = padding_for(len(payload))
        body = b"%c%b%b" % (padding, payload, _ZEROS[:padding])
        self._make_room(len(body) + OVERHEAD)
        at = self._end
        end = at + LENGTH + len(body) + TAG
        sealer.seal(body, _U32.pack(len(body)), self._view[at:end])
        self._end = end
        self.bytes += end - at
        self.seqno += 1

    def append(self, ready: bytes) -> None:
        """Append bytes that are ready for the socket."""
        self._make_room(len(ready))
        self._view[self._end : self._end + len(ready)] = ready
        self._end += len(ready)
        self.bytes += len(ready)

    def begin_key_exchange(self, now: float) -> None:
        """Our KEXINIT is sent next: all but key exchange waits."""
        self.in_key_exchange = True
        self.key_exchange_began = now

    def end_key_exchange(self) -> None:
        """The peer's NEWKEYS took effect: what was queued follows."""
        self.in_key_exchange = False
        self._held_bytes = 0
        while self._held:
            self.send(self._held.popleft())

    def disconnect(self, code: int, text: str, *, patience: float = 0.0) -> None:
        """Send DISCONNECT (RFC 4253 §11.1), also in a key exchange; give the socket `patience` seconds."""
        with contextlib.suppress(ProtocolViolation, OSError):  # no room, or no peer, for a goodbye
            self.send(MSG_DISCONNECT + _U32.pack(code) + string(text.encode()[:200]) + string(b""))
            self.flush()
            if self.congested and patience:
                self._sock.settimeout(patience)
                self._sock.sendall(self._view[self._start : self._end])

    # --- data

    def slots(self, limit: int, packet: int, *, bulk: bool) -> list[memoryview]:
        """Return buffers for at most `limit` bytes from a socket, `packet` at most in each; `bulk` for a batch.

        They are to be filled in order; `send_data` sends what was read into them.
        """
        if bulk and packet >= PACKET_SIZE and limit >= BATCH:
            return self._slots
        size = min(packet, PACKET_SIZE)
        slots = []
        for slot in self._slots if bulk else self._slots[:1]:
            slots.append(slot[: min(size, limit)])
            limit -= size
            if limit <= 0:
                break
        return slots

    def send_data(self, peer_id: int, count: int, packet: int) -> None:
        """Send `count` bytes that were read into `slots(…, packet, …)` as DATA to the peer's channel, at once."""
        size = min(packet, PACKET_SIZE)
        frames, view, sealer = self._frames, self._frames_view, self.sealer
        self._make_room(count + (count // size + 1) * (OVERHEAD + DATA_HEADER))
        out, start = self._view, self._end
        at, frame = start, 0
        while count > 0:
            length = min(size, count)
            padding = padding_for(length + DATA_HEADER - LENGTH - 1)
            body = DATA_HEADER - LENGTH + length + padding
            _HEADER.pack_into(frames, frame, body, padding, MSG_DATA, peer_id, length)
            tail = frame + DATA_HEADER + length
            if sealer is None:
                self._generic(bytes(view[frame + LENGTH + 1 : tail]))
            else:
                # Whatever another connection left behind in this frame must not leave as padding.
                frames[tail : tail + padding] = _ZEROS[:padding]
                end = at + LENGTH + body + TAG
                sealer.seal(view[frame + LENGTH : tail + padding], view[frame : frame + LENGTH], out[at:end])
                at = end
                self.seqno += 1
            count -= length
            frame += FRAME
        if sealer is not None:
            self._end = at
            self.bytes += at - start
        self.flush()

    # --- the socket

    def flush(self) -> None:
        """Put on the socket what it takes; `congested` says whether it took all."""
        start, end = self._start, self._end
        if start == end:
            return
        self.sent_something = True
        try:
            start += self._sock.send(self._view[start:end])
        except BlockingIOError:
            pass
        except OSError:
            # The reason may still be on its way in (a DISCONNECT): reading finds it, or this error.
            start = end
        if start == end:
            self._start = self._end = 0
            self.congested = False
        else:
            self._start = start
            self.congested = True

    def key(self, sealer: Sealer | None) -> None:
        """Switch to new keys, None for a cipher that is paramiko's."""
        self.sealer = sealer
        self.bytes = 0

    def release(self) -> None:
        """Let go of the buffers; nothing may be called afterwards."""
        del self._frames, self._frames_view, self._slots, self.first_slot, self._buffer, self._view

    def _make_room(self, size: int) -> None:
        start, end = self._start, self._end
        if end + size <= len(self._buffer):
            return
        left = end - start
        if left + size > LIMIT:
            raise ProtocolViolation("it makes us answer, but does not read")
        if left + size > len(self._buffer):
            bigger = mmap.mmap(-1, min(2 * (left + size), LIMIT))
            bigger[:left] = self._buffer[start:end]
            self._buffer, self._view = bigger, memoryview(bigger)
        else:
            self._buffer.move(0, start, left)
        self._start, self._end = 0, left
