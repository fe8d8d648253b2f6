"""The SSH binary packet protocol on one socket, as paramiko's packetizer on our event loop.

Theory of operation. paramiko's transport thread calls `read_message` for the next message and would block there; here
it runs the event loop instead. Messages of the connection protocol (RFC 4254) go to `service` at once, on the same
thread; key exchange, authentication and the rest are returned to paramiko. Nothing else writes to the socket, so
there is no lock. AES-GCM takes the fast path (whole batches between a few fixed buffers, see `inbound` and
`outbound`); any other cipher takes paramiko's own code with the same loop underneath. Only the transport thread may
use a LoopPacketizer.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Any

from paramiko.common import MSG_NAMES, cMSG_UNIMPLEMENTED
from paramiko.packet import NeedRekeyException, Packetizer

from ioconnect.ssh.aes_gcm import Opener, Sealer
from ioconnect.ssh.checked_message import CheckedMessage
from ioconnect.ssh.inbound import Inbound
from ioconnect.ssh.loop import BROKEN, FOREVER, READ, WRITE
from ioconnect.ssh.messages import ProtocolViolation
from ioconnect.ssh.outbound import Outbound, Payload
from ioconnect.ssh.rekey_allowance import RekeyAllowance

if TYPE_CHECKING:
    import socket

    from ioconnect.ssh.loop import Loop
    from ioconnect.ssh.transport import Service

PROTOCOL_ERROR = 2  # RFC 4253 §11.1
MSG_KEXINIT, MSG_NEWKEYS = 20, 21
FIRST_AFTER_KEX = 50  # RFC 4250 §4.1.1: 1-19 transport, 20-49 key exchange; all that follows is queued during one
MAX_KEY_EXCHANGE = 16 << 10  # bytes of one message: a KEXINIT or an answer with RSA-16384 has less than 5 KiB
FIRST_CONNECTION, LAST_CONNECTION = 80, 127
MESSAGES_BEFORE_KEXINIT, MESSAGES_BEFORE_SIGN_IN = 16, 256  # in all; sshd sends none, and a dozen or two
MSG_PING, MSG_PONG = 192, 193  # ping@openssh.com, OpenSSH's PROTOCOL 1.9
# What paramiko is given: it fails on types that it has no name for, and after the sign-in on those of the sign-in.
BEFORE_SIGN_IN = frozenset(kind for kind in MSG_NAMES if kind < FIRST_CONNECTION)
AFTER_SIGN_IN = frozenset(kind for kind in BEFORE_SIGN_IN if kind < FIRST_AFTER_KEX) - {5, 6}  # SERVICE_*

# 2^32 AES blocks, as OpenSSH (RFC 4344 §3.2); with no packet below 32 bytes that is within 2^31 packets (§3.1).
REKEY_BYTES = 1 << 36
ACK_WITHIN = 0.001  # seconds; the answer of a database that is quick carries the ACK for nothing
_U32 = struct.Struct(">I")


def rekey_bytes(wanted: str) -> int:
    """Return after how many bytes to ask for new keys; tests say so in the environment (IOCONNECT_REKEY_BYTES)."""
    return min(int(wanted), REKEY_BYTES) if wanted.isdecimal() and int(wanted) > 0 else REKEY_BYTES


class LoopPacketizer(Packetizer):  # type: ignore[misc]  # paramiko is untyped
    """The packetizer that paramiko.Transport is given; see the module."""

    # Never by paramiko's own counters, which see its ciphers only: `_run_once` decides for all.
    REKEY_BYTES = 1 << 62
    REKEY_PACKETS = 1 << 62

    def __init__(self, sock: socket.socket, *, loop: Loop, service: Service, rekey_bytes: int = REKEY_BYTES) -> None:
        super().__init__(sock)
        self._Packetizer__sequence_number_in: int
        self._Packetizer__sequence_number_out: int
        self.loop = loop
        self.service = service
        self.inbound = Inbound(sock)
        self.outbound = Outbound(sock, lambda payload: Packetizer.send_message(self, Payload(payload)))
        self.lines_before_banner: list[bytes] = []
        self.paramiko_kinds = BEFORE_SIGN_IN
        self._rekey_bytes = self._rekey_after = rekey_bytes
        self._last_kind = 0
        self._messages_before_sign_in, self._most_before_sign_in = 0, MESSAGES_BEFORE_KEXINIT
        self._received_at = loop.now
        self.answers_ping = True  # False: a client that was sent no ping@openssh.com in EXT_INFO may fail on a PONG
        self.peer_in_key_exchange = True  # its NEWKEYS is awaited: the first, or that to its latest KEXINIT
        self.rekey_allowance = RekeyAllowance(loop.now)
        self._is_peers_exchange = False  # the key exchange under way is one that the peer began
        self._handed_over: float | None = None  # time.thread_time() at which paramiko was given a message of it
        loop.watch_transport(sock.fileno(), self._ready)

    # --- inbound

    @property
    def received_at(self) -> float:
        """time.monotonic() of the last byte that came; the present while nothing is read, see `_hold_back`."""
        return self.loop.now if self.loop.transport_paused else self._received_at

    def read_message(self) -> tuple[int, CheckedMessage]:
        """Run the loop until there is a message for paramiko (its hook; transport thread).

        Raises NeedRekeyException when it is time for new keys, ProtocolViolation (after telling the peer), EOFError,
        OSError, and whatever `service` raises to end the session.
        """
        if self._handed_over is not None:
            self.rekey_allowance.spend(time.thread_time() - self._handed_over)
            self._handed_over = None
        try:
            return self._next_for_paramiko()
        except ProtocolViolation as violation:
            self.outbound.disconnect(PROTOCOL_ERROR, str(violation))
            raise

    def _next_for_paramiko(self) -> tuple[int, CheckedMessage]:
        if self._last_kind == MSG_NEWKEYS:
            self._last_kind = 0
            self.peer_in_key_exchange = False
            self.outbound.end_key_exchange()
        self.service.advance()
        while True:
            packet = self._next_packet() if self.inbound.opener is None else self.inbound.next_packet()
            if packet is None:
                self._run_once(may_rekey=True)
                continue
            kind, body = packet
            if FIRST_CONNECTION <= kind <= LAST_CONNECTION:
                if not self.service.receive(kind, body):
                    self._not_implemented(kind)
                continue
            self._count_before_sign_in(kind)
            if kind in self.paramiko_kinds:
                return kind, self._for_paramiko(kind, body)
            if self.peer_in_key_exchange:
                self._not_implemented(kind)
            elif kind == MSG_PING and self.answers_ping:
                self.outbound.queue(bytes((MSG_PONG,)) + bytes(body))
            elif kind != MSG_PONG:
                self._not_implemented(kind)

    def _count_before_sign_in(self, kind: int) -> None:
        """Refuse messages without end (IGNORE, DEBUG, USERAUTH_BANNER, …): the deadline ends them late."""
        if self.paramiko_kinds is AFTER_SIGN_IN:
            return
        if kind == MSG_KEXINIT:
            self._most_before_sign_in = MESSAGES_BEFORE_SIGN_IN
        self._messages_before_sign_in += 1
        if self._messages_before_sign_in > self._most_before_sign_in:
            what = "its KEXINIT" if self._most_before_sign_in == MESSAGES_BEFORE_KEXINIT else "the sign-in"
            raise ProtocolViolation(f"more than {self._most_before_sign_in} messages before {what}")

    def _for_paramiko(self, kind: int, body: memoryview) -> CheckedMessage:
        message = CheckedMessage(bytes(body))
        if MSG_KEXINIT <= kind < FIRST_AFTER_KEX:
            self._check_key_exchange(kind, len(body))
        self._last_kind = kind
        message.seqno = (self.inbound.seqno - 1) & 0xFFFFFFFF
        return message

    def _check_key_exchange(self, kind: int, size: int) -> None:
        """Refuse a message of a key exchange that is too large, or that comes outside of one, before it is parsed."""
        if size > MAX_KEY_EXCHANGE:
            raise ProtocolViolation(f"message {kind} of a key exchange with {size} bytes")
        if kind == MSG_KEXINIT:
            self.peer_in_key_exchange = True
            self._is_peers_exchange = not self.outbound.in_key_exchange
            if self._is_peers_exchange:
                self._hold_back()
        elif not self.outbound.in_key_exchange:
            raise ProtocolViolation(f"message {kind} outside a key exchange")
        if self._is_peers_exchange:
            self._handed_over = time.thread_time()

    def _hold_back(self) -> None:
        """Wait until the allowance permits an exchange; the peer, which has sent its KEXINIT, is not read meanwhile.

        All else goes on: our messages and data too, as we have not answered (RFC 4253 §7.1).
        """
        loop, allowance = self.loop, self.rekey_allowance
        if allowance.delay(loop.now):
            loop.pause_transport()
            while delay := allowance.delay(loop.now):
                self._run_once(may_rekey=False, at_most=delay)
            self._received_at = loop.now
            loop.resume_transport()
        allowance.begin(loop.now)

    def _next_packet(self) -> tuple[int, memoryview]:
        """Have paramiko decrypt the next one."""
        kind, message = super().read_message()  # comes back to read_all for its bytes
        body = message.asbytes()
        self.inbound.count(len(body))
        return kind, memoryview(body)

    def _run_once(self, *, may_rekey: bool, at_most: float = FOREVER) -> None:
        """Pass on what arrived, send what is due, and wait for more, `at_most` seconds."""
        answer_likely = self.service.end_batch()
        inbound, outbound = self.inbound, self.outbound
        if (
            (outbound.bytes >= self._rekey_after or inbound.bytes >= REKEY_BYTES)
            and may_rekey
            and not outbound.in_key_exchange
        ):
            self._trigger_rekey()
            raise NeedRekeyException
        outbound.flush()
        loop = self.loop
        loop.wants_flush = congested = outbound.congested
        loop.writers_only = congested or outbound.in_key_exchange
        if not inbound.unacknowledged or outbound.sent_something:
            loop.run_once(at_most)
        elif not answer_likely:
            inbound.acknowledge()
            loop.run_once(at_most)
        elif not loop.run_once(ACK_WITHIN):
            inbound.acknowledge()

    def _ready(self, mask: int) -> None:
        if mask & WRITE:
            self.outbound.flush()
        if mask & (READ | BROKEN):
            self.outbound.sent_something = False
            if self.inbound.fill():
                self._received_at = self.loop.now

    def _not_implemented(self, kind: int) -> None:
        """Answer UNIMPLEMENTED (RFC 4253 §11.4); in a key exchange no such message may come (§7.1)."""
        if self.peer_in_key_exchange:
            raise ProtocolViolation(f"message {kind} during a key exchange")
        self.outbound.queue(cMSG_UNIMPLEMENTED + _U32.pack((self.inbound.seqno - 1) & 0xFFFFFFFF))

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:  # noqa: FBT001, FBT002  paramiko's signature
        """Return exactly `n` bytes, running the loop meanwhile (paramiko's hook for the generic path)."""
        while True:
            taken = self.inbound.take(n)
            if taken is not None:
                return taken
            if self.closed:
                raise EOFError
            self._run_once(may_rekey=check_rekey and not self.inbound.waiting())

    def readline(self, timeout: float) -> str:  # noqa: ARG002  our own deadline covers the whole dial
        """Return the next line before the key exchange (RFC 4253 §4.2), remembering those that are not the banner."""
        while True:
            line = self.inbound.take_line()
            if line is not None:
                break
            self._run_once(may_rekey=False)
        if not line.startswith(b"SSH-"):
            self.lines_before_banner.append(line[:300])
        return line.decode("utf-8", "replace")

    # --- paramiko's other hooks

    def send_message(self, data: Any) -> None:
        """Send a message of paramiko's: key exchange at once, all else in order with ours."""
        payload = data.asbytes()
        kind = payload[0]
        if kind >= FIRST_AFTER_KEX:
            self.outbound.queue(payload)
            return
        if kind == MSG_KEXINIT:
            self.outbound.begin_key_exchange(self.loop.now)
            self._rekey_after = self._rekey_bytes
        self.outbound.send(payload)

    def write_all(self, out: bytes) -> None:
        """Append bytes that are ready for the socket."""
        self.outbound.append(out)

    def set_outbound_cipher(self, *args: Any, **kwargs: Any) -> None:
        """Switch to new outbound keys."""
        super().set_outbound_cipher(*args, **kwargs)
        # A generic cipher's MAC counts on from what the fast path sent, and the other way round.
        if self.outbound.sealer is None:
            self.outbound.seqno = self._Packetizer__sequence_number_out
        else:
            self._Packetizer__sequence_number_out = self.outbound.seqno & 0xFFFFFFFF
        self.outbound.key(Sealer(kwargs["block_engine"], kwargs["iv_out"]) if kwargs.get("aead") else None)

    def set_inbound_cipher(self, *args: Any, **kwargs: Any) -> None:
        """Switch to new inbound keys."""
        super().set_inbound_cipher(*args, **kwargs)
        self._Packetizer__sequence_number_in = self.inbound.seqno & 0xFFFFFFFF
        self.inbound.key(Opener(kwargs["block_engine"], kwargs["iv_in"]) if kwargs.get("aead") else None)

    def reset_seqno_out(self) -> None:
        """Strict key exchange: count from 0 again."""
        super().reset_seqno_out()
        self.outbound.seqno = 0

    def reset_seqno_in(self) -> None:
        """Strict key exchange: count from 0 again."""
        super().reset_seqno_in()
        self.inbound.seqno = 0

    def request_rekey(self) -> None:
        """Begin a key exchange from our side as soon as none is under way."""
        self._rekey_after = 0

    def release(self) -> None:
        """Give the buffers back now, not when the garbage collector finds this ring of objects; nothing follows."""
        self.inbound.release()
        self.outbound.release()

    def start_handshake(self, timeout: float) -> None:
        """Nothing: the session's own deadline covers dial, handshake and sign-in, without a thread."""
