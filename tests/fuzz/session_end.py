"""One end of an SSH session on this thread, over a socket pair whose other end says what the input says.

A framed input is a row of messages, each with its length in two bytes before it. What begins with ACT or more is no
message but something that happens beside the session: see `Peer`. Key exchange cannot be guessed, so the stages after
it begin with keys that both ends know.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from paramiko import SSHException

from ioconnect.errors import Fault
from ioconnect.ssh.aes_gcm import LENGTH, TAG, Opener, Sealer, padding_for
from ioconnect.ssh.loop import WRITE
from ioconnect.ssh.messages import ProtocolViolation
from ioconnect.ssh.transport import LoopTransport, in_library, root_cause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ioconnect.ssh.loop import Loop

BANNER = b"SSH-2.0-OpenSSH_9.2\r\n"
KEY, IV = bytes(range(16)), bytes(range(12))
EXPECTED = (
    Fault,
    ProtocolViolation,
    SSHException,
    EOFError,
    OSError,
)  # as agent/session/session.py and stub/session.py
MOST = 400  # messages of one input
ACT = 0xF0
SENDS, ENDS, RESETS, CONNECTS, RAW, DEAF = range(ACT, ACT + 6)


def talk(*messages: bytes) -> bytes:
    """Return the framed input of these messages."""
    return b"".join(struct.pack(">H", len(message)) + message for message in messages)


def framed(data: bytes) -> Iterator[bytes]:
    """Yield the messages of an input; the last one may be cut off."""
    at, count = 0, 0
    while at + 2 < len(data) and count < MOST:
        size = int.from_bytes(data[at : at + 2], "big")
        yield data[at + 2 : at + 2 + size] or b"\0"
        at, count = at + 2 + size, count + 1


def in_the_clear(payload: bytes) -> bytes:
    """Return a packet without encryption (RFC 4253 §6)."""
    padding = 8 - (len(payload) + 5) % 8
    padding += 8 if padding < 4 else 0
    return struct.pack(">IB", len(payload) + padding + 1, padding) + payload + bytes(padding)


def sealer() -> Callable[[bytes], bytes]:
    """Return a function that makes packets under the key that both ends know."""
    under_key = Sealer(AESGCM(KEY), IV)

    def seal(payload: bytes) -> bytes:
        padding = padding_for(len(payload))
        body = bytes((padding,)) + payload + bytes(padding)
        out = bytearray(LENGTH + len(body) + TAG)
        under_key.seal(body, len(body).to_bytes(LENGTH, "big"), memoryview(out))
        return bytes(out)

    return seal


class Peer:
    """Says the input, a message each second time the loop comes round, and plays who is connected beside the session.

    `connect` and `accept` make such connections: to the port that is forwarded, or what the target was connected by.
    """

    def __init__(
        self, loop: Loop, sock: socket.socket, packets: Iterator[bytes], seal: Callable[[bytes], bytes]
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._packets = packets
        self._seal = seal
        self._deaf = False
        self._beside: list[socket.socket] = []
        self.accept: Callable[[], socket.socket | None] = lambda: None
        self.connect: Callable[[], socket.socket | None] = lambda: None
        sock.setblocking(False)
        self._turn = 0
        self._pipe = os.pipe()  # always writable, so the loop calls each time it comes round
        loop.watch(self._pipe[1], WRITE, self._feed)

    def _feed(self, _mask: int) -> None:
        """Say the next message; after the last one, hang up."""
        self._turn += 1
        if self._turn % 2:  # what came of the last one is handled first
            return
        while not self._deaf:
            try:
                if not self._sock.recv(1 << 18):
                    return
            except OSError:
                break
        accepted = self.accept()
        if accepted is not None:
            self._beside.append(accepted)
        packet = next(self._packets, None)
        with contextlib.suppress(OSError):  # the session is over, or does not read
            if packet is None:
                self._loop.unwatch(self._pipe[1])
                self._sock.shutdown(socket.SHUT_WR)
                return
            self._say(packet)

    def close(self) -> None:
        """Let go of every socket."""
        for sock in (self._sock, *self._beside):
            sock.close()
        for descriptor in self._pipe:
            os.close(descriptor)

    def _say(self, packet: bytes) -> None:
        act, rest = packet[0], packet[1:]
        beside = self._beside[-1] if self._beside else None
        if act < ACT:
            self._sock.send(self._seal(packet))
        elif act == RAW:
            self._sock.send(rest)
        elif act == DEAF:
            self._deaf = not self._deaf
        elif act == CONNECTS:
            made = self.connect()
            if made is not None:
                self._beside.append(made)
        elif beside is not None and act == SENDS:
            beside.send(rest or b"x" * 5000)
        elif beside is not None and act == ENDS:
            beside.shutdown(socket.SHUT_WR)
        elif beside is not None and act == RESETS:
            beside.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._beside.pop().close()


def know_keys(transport: LoopTransport) -> None:
    """Put a transport that does not run yet where the first key exchange ends."""
    transport.initial_kex_done = True
    transport.packetizer.peer_in_key_exchange = False
    transport.remote_version = BANNER.decode().strip()
    transport.session_id = bytes(32)
    transport.agreed_on_strict_kex = True
    transport.clear_to_send.set()
    transport._check_banner = lambda: None
    send_kex_init, expect = transport._send_kex_init, transport._expect_packet

    def skip_kex_init() -> None:
        transport._send_kex_init = send_kex_init  # type: ignore[method-assign]

    def skip_expect(*_kinds: int) -> None:
        transport._expect_packet = expect

    transport._send_kex_init = skip_kex_init  # type: ignore[method-assign]
    transport._expect_packet = skip_expect
    transport.packetizer.outbound.key(Sealer(AESGCM(KEY), IV))
    transport.packetizer.inbound.key(Opener(AESGCM(KEY), IV))


def run(transport: LoopTransport, peer: Peer, loop: Loop, ends: list[BaseException | None]) -> None:
    """Run the session to its end on this thread; `ends` is what `ended` was called with. Raises what is a bug."""
    try:
        transport.run()
    finally:
        loop.close()
        peer.close()
    cause: Any = root_cause(ends[0])
    if isinstance(cause, Exception) and not isinstance(cause, EXPECTED) and not in_library(cause):
        raise cause
