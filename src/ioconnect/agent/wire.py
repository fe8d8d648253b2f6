"""The SSH binary packet protocol on one socket, inside paramiko's packetizer.

Theory of operation. paramiko's transport thread asks `read_message` for the next message and would block there; here
it turns the loop instead. Messages of the connection protocol (RFC 4254) go to `upper` at once, on the same thread;
key exchange, authentication and the rest are returned to paramiko. Nothing else writes to the socket, so there is no
lock. AES-GCM takes the tuned path (whole batches between a few fixed buffers); any other cipher takes paramiko's own
arithmetic with the same loop underneath.

Between our KEXINIT and the peer's NEWKEYS the wire is `quiet`: nothing but key exchange may leave (RFC 4253 §7.1;
OpenSSH 10.4 and later disconnect for it), so all else is held back and follows in order.

Only the transport thread may touch a Wire.
"""

from __future__ import annotations

import contextlib
import mmap
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from cryptography.exceptions import InvalidTag
from paramiko.common import MSG_NAMES, cMSG_UNIMPLEMENTED
from paramiko.message import Message
from paramiko.packet import NeedRekeyException, Packetizer

from ioconnect.agent.channels import PACKET_SIZE, ProtocolViolation
from ioconnect.agent.gcm import BLOCK, LENGTH, OVERHEAD, TAG, Opener, Sealer, padding_for
from ioconnect.agent.loop import BROKEN, READ, WRITE

if TYPE_CHECKING:
    from ioconnect.agent.loop import Loop

PROTOCOL_ERROR = 2  # RFC 4253 §11.1
MSG_KEXINIT, MSG_NEWKEYS = 20, 21
FIRST_AFTER_KEX = 50  # RFC 4250 §4.1.1: 1-19 transport, 20-49 key exchange; from here on all is held while quiet
FIRST_CONNECTION, LAST_CONNECTION = 80, 127
MSG_DATA = 94
MSG_PING, MSG_PONG = 192, 193  # ping@openssh.com, OpenSSH's PROTOCOL 1.9

# What paramiko is handed: it stumbles over types that it has no name for, and after the sign-in over its own past.
BEFORE_SIGN_IN = frozenset(kind for kind in MSG_NAMES if kind < FIRST_CONNECTION)
AFTER_SIGN_IN = frozenset(kind for kind in BEFORE_SIGN_IN if kind < FIRST_AFTER_KEX) - {5, 6}  # SERVICE_*

MAX_PACKET = 256 * 1024  # OpenSSH's PACKET_MAX_SIZE
FRAMES = 8  # full packets sealed into one send
READ_SIZE = 256 * 1024  # taken off the socket in one turn: more would let the other sockets wait
DATA_HEADER = LENGTH + 1 + 1 + 4 + 4  # length, padding length, type, channel, data length
FRAME = DATA_HEADER + PACKET_SIZE + 19
CAPACITY = MAX_PACKET + READ_SIZE
OUT_CAPACITY = FRAMES * (FRAME + TAG) + 64 * 1024
OUT_LIMIT = 4 << 20  # control messages that a jumphost which does not read may make us keep
REKEY_BYTES = 1 << 36  # 2^32 AES blocks, as OpenSSH (RFC 4344 §3.2)
REKEY_PACKETS = 1 << 31  # RFC 4344 §3.1
SMALL_READ = 16 * 1024

_HEADER = struct.Struct(">IBBII")
_U32 = struct.Struct(">I")
_ZEROS = bytes(20)
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)


class Upper(Protocol):
    """The connection protocol above the wire."""

    def advance(self) -> None:
        """Called whenever paramiko is done with a message; may raise to end the session."""

    def take(self, kind: int, body: memoryview) -> bool:
        """Handle a message of the connection protocol; `body` (without type) is gone after the next `settle`.

        Return False for a type that is not known.
        """

    def settle(self) -> None:
        """All that had arrived was taken: pass it on."""

    def heard(self, now: float) -> None:
        """Bytes arrived at `now` (time.monotonic)."""


class Payload:
    """Bytes that paramiko's `send_message` takes for a Message."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def asbytes(self) -> bytes:
        """Return the payload."""
        return self._data


class Wire(Packetizer):  # type: ignore[misc]  # paramiko is untyped
    """The packetizer that paramiko.Transport is given; see the module."""

    # paramiko's own counters see only the generic path; ours see both.
    REKEY_BYTES = 1 << 62
    REKEY_PACKETS = 1 << 62

    def __init__(self, sock: socket.socket, *, loop: Loop, upper: Upper, rekey_bytes: int = REKEY_BYTES) -> None:
        super().__init__(sock)
        self.sock = sock
        self.loop = loop
        self.upper = upper
        self._Packetizer__sequence_number_in: int
        self._Packetizer__sequence_number_out: int
        self.said_before_banner: list[bytes] = []
        self._is_tcp = sock.family in (socket.AF_INET, socket.AF_INET6)
        self._rekey_bytes = rekey_bytes
        # Anonymous maps, not bytearrays: an idle tunnel's buffers have no pages.
        # Inbound: what was read and not yet parsed, and where a batch of packets is decrypted to.
        self._in = mmap.mmap(-1, CAPACITY)
        self._in_view = memoryview(self._in)
        self._in_start = self._in_end = 0
        self._arena = mmap.mmap(-1, CAPACITY)
        self._arena_view = memoryview(self._arena)
        self._arena_end = 0
        self._opener: Opener | None = None
        self._received_bytes = self._received_packets = self._seqno_in = 0
        # Outbound: plain frames that targets are read into, and sealed packets on their way.
        self._frames = mmap.mmap(-1, FRAME * FRAMES)
        self._frames_view = view = memoryview(self._frames)
        self._slots = [view[at : at + PACKET_SIZE] for at in range(DATA_HEADER, FRAME * FRAMES, FRAME)]
        self._out = mmap.mmap(-1, OUT_CAPACITY)
        self._out_view = memoryview(self._out)
        self._out_start = self._out_end = 0
        self._sealer: Sealer | None = None
        self._sent_bytes = self._sent_packets = self._seqno_out = 0
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._last_kind = 0
        self.for_paramiko = BEFORE_SIGN_IN
        self.quiet = False
        self.congested = False  # the last flush left something behind
        loop.watch_wire(sock.fileno(), self._ready)

    # --- inbound

    def read_message(self) -> tuple[int, Message]:
        """Turn the loop until there is a message for paramiko (its hook; transport thread).

        Raises NeedRekeyException when it is time for new keys, ProtocolViolation (after telling the peer), EOFError,
        OSError, and whatever `upper` raises to end the session.
        """
        try:
            return self._next_for_paramiko()
        except ProtocolViolation as violation:
            self.disconnect(PROTOCOL_ERROR, str(violation))
            raise

    def _next_for_paramiko(self) -> tuple[int, Message]:
        if self._last_kind == MSG_NEWKEYS:
            self._last_kind = 0
            self._speak_again()
        self.upper.advance()
        while True:
            packet = self._next_packet()
            if packet is None:
                self._turn(may_rekey=True)
                continue
            kind, body = packet
            if FIRST_CONNECTION <= kind <= LAST_CONNECTION:
                if not self.upper.take(kind, body):
                    self._not_implemented()
            elif kind in self.for_paramiko:
                if MSG_KEXINIT < kind < FIRST_AFTER_KEX and not self.quiet:
                    raise ProtocolViolation(f"message {kind} outside a key exchange")
                self._last_kind = kind
                message = Message(bytes(body))
                message.seqno = (self._seqno_in - 1) & 0xFFFFFFFF
                return kind, message
            elif kind == MSG_PING:
                self.queue(bytes((MSG_PONG,)) + bytes(body))
            elif kind != MSG_PONG:
                self._not_implemented()

    def _next_packet(self) -> tuple[int, memoryview] | None:
        if self._opener is None:
            kind, message = super().read_message()  # comes back to read_all for its bytes
            self._seqno_in = message.seqno + 1
            body = message.asbytes()
            self._count_received(len(body))
            return kind, memoryview(body)
        start = self._in_start
        available = self._in_end - start
        if available < LENGTH:
            return None
        (size,) = _U32.unpack_from(self._in, start)
        if size > MAX_PACKET or size < BLOCK or size % BLOCK:
            raise ProtocolViolation(f"a packet of {size} bytes")
        total = LENGTH + size + TAG
        if available < total:
            return None
        view, at = self._in_view, self._arena_end
        end = at + size
        try:
            self._opener.open(
                view[start + LENGTH : start + total], view[start : start + LENGTH], self._arena_view[at:end]
            )
        except InvalidTag:
            raise ProtocolViolation("a packet fails its integrity check") from None
        self._in_start = start + total
        self._arena_end = end
        self._seqno_in += 1
        self._count_received(total)
        padding = self._arena[at]
        if padding < 4 or padding + 2 > size:  # noqa: PLR2004  RFC 4253 §6: at least four, and room for the type
            raise ProtocolViolation(f"{padding} bytes of padding in a packet of {size}")
        return self._arena[at + 1], self._arena_view[at + 2 : end - padding]

    def _count_received(self, size: int) -> None:
        self._received_bytes += size
        self._received_packets += 1

    def _turn(self, *, may_rekey: bool) -> None:
        """Hand on what arrived, send what is due, and wait for more."""
        self.upper.settle()
        self._arena_end = 0
        if may_rekey and not self.quiet and self._keys_worn():
            self._trigger_rekey()
            raise NeedRekeyException
        self.flush()
        loop = self.loop
        loop.gate_closed = self.quiet or self.congested
        loop.flush_wanted = self.congested
        loop.turn()

    def _keys_worn(self) -> bool:
        return (
            self._sent_bytes >= self._rekey_bytes
            or self._received_bytes >= REKEY_BYTES
            or self._sent_packets >= REKEY_PACKETS
            or self._received_packets >= REKEY_PACKETS
        )

    def _ready(self, mask: int) -> None:
        if mask & WRITE:
            self.flush()
        if mask & (READ | BROKEN):
            self._fill()

    def _fill(self) -> None:
        start, end = self._in_start, self._in_end
        if start == end:
            start = end = 0
        elif CAPACITY - end < READ_SIZE:
            left = end - start
            self._in.move(0, start, left)
            start, end = 0, left
        try:
            count = self.sock.recv_into(self._in_view[end : end + READ_SIZE])
        except BlockingIOError:
            return
        if not count:
            raise EOFError
        self._in_start, self._in_end = start, end + count
        self.upper.heard(self.loop.now)
        if count < SMALL_READ and _QUICKACK is not None and self._is_tcp:
            # sshd runs Nagle without a terminal: a delayed ACK of ours costs each new connection 40 ms.
            self.sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:  # noqa: FBT001, FBT002  paramiko's signature
        """Return exactly `n` bytes, turning the loop meanwhile (paramiko's hook for the generic path)."""
        if n < 0 or n > MAX_PACKET:
            raise ProtocolViolation(f"a packet of {n} bytes")
        while self._in_end - self._in_start < n:
            if self.closed:
                raise EOFError
            self._turn(may_rekey=check_rekey and self._in_end == self._in_start)
        start = self._in_start
        self._in_start = start + n
        return bytes(self._in_view[start : start + n])

    def readline(self, timeout: float) -> str:  # noqa: ARG002  our own deadline covers the whole dial
        """Return the next line before the key exchange (RFC 4253 §4.2), remembering those that are not the banner."""
        while True:
            end = self._in.find(b"\n", self._in_start, self._in_end)
            if end >= 0:
                break
            if self._in_end - self._in_start > 8192:  # noqa: PLR2004  the RFC allows 255
                raise ProtocolViolation("an endless line where the SSH version should be")
            self._turn(may_rekey=False)
        line = bytes(self._in[self._in_start : end]).rstrip(b"\r")
        self._in_start = end + 1
        if not line.startswith(b"SSH-"):
            self.said_before_banner.append(line[:300])
        return line.decode("utf-8", "replace")

    # --- outbound

    def queue(self, payload: bytes) -> None:
        """Send one message, in order with all others; it leaves with the next flush."""
        if self.quiet:
            self._hold(payload)
        else:
            self._send(payload)

    def slots(self, limit: int, packet: int, *, wide: bool) -> list[memoryview]:
        """Return buffers for at most `limit` bytes from a target, `packet` at most in each; `wide` for a batch.

        Filled in order from the first; `send_data` sends what was read into them.
        """
        if packet >= PACKET_SIZE and limit >= PACKET_SIZE:
            if not wide:
                return self._slots[:1]
            if limit >= FRAMES * PACKET_SIZE:
                return self._slots
        size = min(packet, PACKET_SIZE)
        slots = []
        for slot in self._slots if wide else self._slots[:1]:
            slots.append(slot[: min(size, limit)])
            limit -= size
            if limit <= 0:
                break
        return slots

    def send_data(self, peer_id: int, count: int, packet: int) -> None:
        """Send `count` bytes that were read into `slots(…, packet, …)` as DATA to the peer's channel, at once."""
        size = min(packet, PACKET_SIZE)
        frames, view, sealer = self._frames, self._frames_view, self._sealer
        self._make_room(count + (count // size + 1) * (OVERHEAD + DATA_HEADER))
        out, at = self._out_view, self._out_end
        frame = 0
        while count > 0:
            length = min(size, count)
            padding = padding_for(length + 9)
            body = length + 10 + padding
            _HEADER.pack_into(frames, frame, body, padding, MSG_DATA, peer_id, length)
            tail = frame + DATA_HEADER + length
            if sealer is None:
                self._send(bytes(view[frame + LENGTH + 1 : tail]))
            else:
                # Whatever another connection left behind in this frame must not leave as padding.
                frames[tail : tail + padding] = _ZEROS[:padding]
                sealer.seal(view[frame + LENGTH : tail + padding], view[frame : frame + LENGTH], out[at:])
                at += LENGTH + body + TAG
                self._sent_packets += 1
                self._seqno_out += 1
            count -= length
            frame += FRAME
        if sealer is not None:
            self._sent_bytes += at - self._out_end
            self._out_end = at
        self.flush()

    def flush(self) -> None:
        """Put on the socket what it takes; `congested` says whether it took all."""
        start, end = self._out_start, self._out_end
        if start == end:
            return
        try:
            count = self.sock.send(self._out_view[start:end])
        except BlockingIOError:
            count = 0
        except OSError:
            # The reason may still be on its way in (a DISCONNECT): reading finds it, or this error.
            count = end - start
        start += count
        if start == end:
            self._out_start = self._out_end = 0
            self.congested = False
        else:
            self._out_start = start
            self.congested = True

    def disconnect(self, code: int, text: str, *, patience: float = 0.0) -> None:
        """Send SSH_MSG_DISCONNECT (RFC 4253 §11.1; allowed while quiet), waiting at most `patience` seconds."""
        with contextlib.suppress(ProtocolViolation, OSError):  # no room, or no peer, for a goodbye
            encoded = text.encode()[:200]
            self._send(_U32.pack(code).join((b"\1", _U32.pack(len(encoded)))) + encoded + _U32.pack(0))
            self.flush()
            if self.congested and patience:
                self.sock.settimeout(patience)
                self.sock.sendall(self._out_view[self._out_start : self._out_end])

    def send_message(self, data: Any) -> None:
        """Send a message of paramiko's (its hook): key exchange at once, all else in order with ours."""
        payload = data.asbytes()
        kind = payload[0]
        if kind >= FIRST_AFTER_KEX:
            self.queue(payload)
            return
        if kind == MSG_KEXINIT:
            self.quiet = True
        self._send(payload)

    def write_all(self, out: bytes) -> None:
        """Append bytes that are ready for the socket (paramiko's hook)."""
        self._make_room(len(out))
        self._out_view[self._out_end : self._out_end + len(out)] = out
        self._out_end += len(out)
        self._sent_bytes += len(out)
        self._sent_packets += 1

    def _send(self, payload: bytes) -> None:
        sealer = self._sealer
        if sealer is None:
            super().send_message(Payload(payload))  # comes back to write_all
            return
        padding = padding_for(len(payload))
        body = b"%c%b%b" % (padding, payload, _ZEROS[:padding])
        self._make_room(len(body) + OVERHEAD)
        at = self._out_end
        sealer.seal(body, _U32.pack(len(body)), self._out_view[at:])
        self._out_end = at + LENGTH + len(body) + TAG
        self._sent_bytes += LENGTH + len(body) + TAG
        self._sent_packets += 1
        self._seqno_out += 1

    def _make_room(self, size: int) -> None:
        start, end = self._out_start, self._out_end
        if end + size <= len(self._out):
            return
        left = end - start
        if left + size > OUT_LIMIT:
            raise ProtocolViolation("the jumphost makes us answer, but does not read")
        if left + size > len(self._out):
            bigger = mmap.mmap(-1, 2 * (left + size))
            bigger[:left] = self._out[start:end]
            self._out, self._out_view = bigger, memoryview(bigger)
        else:
            self._out.move(0, start, left)
        self._out_start, self._out_end = 0, left

    def _hold(self, payload: bytes) -> None:
        self._held_bytes += len(payload)
        if self._held_bytes > OUT_LIMIT:
            raise ProtocolViolation("the jumphost makes us answer, but does not finish its key exchange")
        self._held.append(payload)

    def _speak_again(self) -> None:
        """The peer's NEWKEYS took effect: what was held back follows."""
        self.quiet = False
        self._held_bytes = 0
        while self._held:
            self._send(self._held.popleft())

    def _not_implemented(self) -> None:
        self.queue(cMSG_UNIMPLEMENTED + _U32.pack((self._seqno_in - 1) & 0xFFFFFFFF))

    # --- paramiko's other hooks

    def set_outbound_cipher(self, *args: Any, **kwargs: Any) -> None:
        """Switch to new outbound keys."""
        super().set_outbound_cipher(*args, **kwargs)
        # A generic cipher's MAC counts on from what the tuned path sent, and the other way round.
        if self._sealer is None:
            self._seqno_out = self._Packetizer__sequence_number_out
        else:
            self._Packetizer__sequence_number_out = self._seqno_out & 0xFFFFFFFF
        self._sealer = Sealer(kwargs["block_engine"], kwargs["iv_out"]) if kwargs.get("aead") else None
        self._sent_bytes = self._sent_packets = 0

    def set_inbound_cipher(self, *args: Any, **kwargs: Any) -> None:
        """Switch to new inbound keys."""
        super().set_inbound_cipher(*args, **kwargs)
        self._Packetizer__sequence_number_in = self._seqno_in & 0xFFFFFFFF
        self._opener = Opener(kwargs["block_engine"], kwargs["iv_in"]) if kwargs.get("aead") else None
        self._received_bytes = self._received_packets = 0

    def reset_seqno_out(self) -> None:
        """Strict key exchange: count from 0 again."""
        super().reset_seqno_out()
        self._seqno_out = 0

    def reset_seqno_in(self) -> None:
        """Strict key exchange: count from 0 again."""
        super().reset_seqno_in()
        self._seqno_in = 0

    def start_handshake(self, timeout: float) -> None:
        """Nothing: the session's own deadline covers dial, handshake and sign-in, without a thread."""
