"""One connection that the jumphost accepted on an allocated port: its TCP socket and its `forwarded-tcpip` channel.

The collecting thread (`run`) owns the connection: it opens the channel, sends DATA and EOF, starts and joins the
delivering thread, and sends CLOSE last of all, so nothing can follow it (RFC 4254 §5.3). The delivering thread sends
only WINDOW_ADJUST. paramiko's reading thread calls the `on_…` methods; they note what arrived and never send.

Ends, as sshd has them: EOF one way leaves the other open; a reset on our side becomes EOF and CLOSE. One thing is
stricter: when the channel or the session ends before its EOF, our side is reset, so a cut stream never looks whole.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections import deque
from typing import TYPE_CHECKING

from paramiko.common import (
    cMSG_CHANNEL_CLOSE,
    cMSG_CHANNEL_DATA,
    cMSG_CHANNEL_EOF,
    cMSG_CHANNEL_OPEN,
    cMSG_CHANNEL_WINDOW_ADJUST,
)
from paramiko.message import Message

from ioconnect.stub.wire import set_reset

if TYPE_CHECKING:
    from ioconnect.stub.forwarding import Forwarding
    from ioconnect.stub.session import Session

WINDOW = 2 << 20  # bytes, as OpenSSH's CHAN_TCP_WINDOW_DEFAULT
PACKET = 32 << 10  # bytes of data, as OpenSSH's CHAN_TCP_PACKET_DEFAULT
ADJUST_AFTER = 3 * PACKET  # bytes consumed before the window is refilled, as in channels.c
OPEN_DEADLINE = 60.0  # seconds for the answer to CHANNEL_OPEN, else the session is over
SEND_SLICE = struct.pack("ll", 0, 200_000)  # struct timeval: how soon a blocked write notices the session's end
UINT32_MAX = 0xFFFFFFFF


class ProtocolViolation(Exception):
    """The peer broke RFC 4254; the text is what the jumphost says when it disconnects."""


class Connection:
    """`number` is our channel number, `origin` the TCP peer, `bound` what the client asked us to listen on."""

    def __init__(  # noqa: PLR0917  the one caller has them all at hand
        self,
        session: Session,
        forwarding: Forwarding,
        number: int,
        sock: socket.socket,
        origin: tuple[str, int],
        bound: tuple[str, int],
    ) -> None:
        sock.setblocking(True)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, SEND_SLICE)
        self.number = number
        self.origin = origin
        self._session = session
        self._forwarding = forwarding
        self._sock = sock
        self._bound = bound
        self._changed = threading.Condition()
        self._remote: int | None = None  # the peer's channel number, once confirmed
        self._refused = False
        self._window_out = 0
        self._packet_out = 0
        self._window_in = WINDOW
        self._consumed = 0  # bytes delivered and not yet given back to the peer's window
        self._inbound: deque[bytes] = deque()
        self._eof_in = False
        self._close_in = False
        self._lost = False  # the session ended
        self._broken = False  # our TCP peer is gone
        self._collected_all = False
        self._delivered_all = False
        self._socket_open = True
        self._close_out = False
        self._thread = threading.Thread(target=self.run, name=f"stub-collect-{number}", daemon=True)

    def start(self) -> None:
        """Open the channel and carry traffic until both ends are done, in threads of its own."""
        self._thread.start()

    def join(self, timeout: float) -> None:
        """Wait for the end."""
        self._thread.join(timeout)

    @property
    def confirmed(self) -> bool:
        """Whether the client took the channel."""
        return self._remote is not None

    @property
    def remote_number(self) -> int:
        """The client's number of the channel; only once it is confirmed."""
        if self._remote is None:
            raise ProtocolViolation(f"channel {self.number}: a request before confirmation")
        return self._remote

    # called by the reading thread

    def on_confirmation(self, remote: int, window: int, packet: int) -> None:
        """CHANNEL_OPEN_CONFIRMATION."""
        with self._changed:
            self._require(self._remote is None and not self._refused, "a second answer to channel open")
            self._require(packet > 0, "maximum packet size 0")
            self._remote, self._window_out, self._packet_out = remote, window, min(packet, PACKET)
            self._changed.notify_all()

    def on_failure(self) -> None:
        """CHANNEL_OPEN_FAILURE."""
        with self._changed:
            self._require(self._remote is None and not self._refused, "a second answer to channel open")
            self._refused = True
            self._changed.notify_all()

    def on_data(self, data: bytes) -> None:
        """CHANNEL_DATA; stricter than sshd, which forgives a little."""
        with self._changed:
            self._require_open("data")
            self._require(not self._eof_in, "data after EOF")
            self._require(len(data) <= PACKET, f"{len(data)} bytes of data, {PACKET} is the maximum")
            self._require(len(data) <= self._window_in, "data beyond the window")
            self._window_in -= len(data)
            if not self._broken and not self._close_out:
                self._inbound.append(data)
                self._changed.notify_all()

    def on_extended_data(self) -> None:
        """CHANNEL_EXTENDED_DATA, which a forwarded connection does not have."""
        self._require(False, "extended data")

    def on_window_adjust(self, amount: int) -> None:
        """CHANNEL_WINDOW_ADJUST."""
        with self._changed:
            self._require(self._remote is not None, "window adjust before confirmation")
            self._require(self._window_out + amount <= UINT32_MAX, "a window beyond 2^32-1")
            self._window_out += amount
            self._changed.notify_all()

    def on_eof(self) -> None:
        """CHANNEL_EOF."""
        with self._changed:
            self._require_open("EOF")
            self._require(not self._eof_in, "a second EOF")
            self._eof_in = True
            self._changed.notify_all()

    def on_close(self) -> None:
        """CHANNEL_CLOSE."""
        with self._changed:
            self._require_open("CLOSE")
            self._close_in = True
            self._stop_collecting()

    def on_session_end(self) -> None:
        """No message will arrive or leave any more."""
        with self._changed:
            self._lost = True
            self._stop_collecting()

    @property
    def over(self) -> bool:
        """Whether both CLOSEs have passed, or the open was refused: the number may be used again."""
        with self._changed:
            return (self._refused and self._close_out) or (self._close_in and self._close_out)

    def _require(self, condition: bool, text: str) -> None:  # noqa: FBT001  reads as an assertion
        if not condition:
            raise ProtocolViolation(f"channel {self.number}: {text}")

    def _require_open(self, what: str) -> None:
        self._require(self._remote is not None, f"{what} before confirmation")
        self._require(not self._close_in, f"{what} after CLOSE")

    def _stop_collecting(self) -> None:
        """Wake both threads; the caller holds the lock, so the socket is still ours."""
        if self._socket_open:
            with contextlib.suppress(OSError):  # already disconnected
                self._sock.shutdown(socket.SHUT_RD)
        self._changed.notify_all()

    # the collecting thread

    def run(self) -> None:
        """Own the connection from CHANNEL_OPEN to CHANNEL_CLOSE."""
        deliverer = threading.Thread(target=self._deliver, name=f"stub-deliver-{self.number}", daemon=True)
        try:
            if self._open():
                deliverer.start()
                try:
                    self._collect()
                finally:
                    deliverer.join()
        finally:
            self._finish()

    def _open(self) -> bool:
        message = Message()
        message.add_byte(cMSG_CHANNEL_OPEN)
        message.add_string("forwarded-tcpip")
        for number in (self.number, WINDOW, PACKET):
            message.add_int(number)
        for host, port in (self._bound, self.origin):
            message.add_string(host)
            message.add_int(port)
        self._session.say(message)
        with self._changed:
            while not self._changed.wait_for(lambda: self.confirmed or self._refused or self._lost, OPEN_DEADLINE):
                if not self._session.frozen:
                    self._session.expel(f"channel {self.number}: no answer to channel open")
            return self.confirmed and not self._lost

    def _collect(self) -> None:
        """TCP → channel, until EOF here, CLOSE there, or the end of the session."""
        while allowed := self._wait_for_window():
            try:
                data = self._sock.recv(allowed)
            except OSError:
                data = b""
                self._note_broken()
            if not data:
                self._say(cMSG_CHANNEL_EOF)
                self._collected_all = True
                return
            with self._changed:
                self._window_out -= len(data)
            message = self._message(cMSG_CHANNEL_DATA)
            message.add_string(data)
            self._session.wire.wait_for_room()
            self._session.say(message)

    def _wait_for_window(self) -> int:
        """Return how many bytes may be sent in one message, 0 when none ever again."""
        with self._changed:
            while not (self._close_in or self._lost or self._broken):
                if self._window_out:
                    return min(self._window_out, self._packet_out)
                self._changed.wait(1.0)
        return 0

    # the delivering thread

    def _deliver(self) -> None:
        """Channel → TCP, until everything before EOF or CLOSE is written."""
        while (chunk := self._next_chunk()) is not None:
            if not self._write(chunk):
                self._note_broken()
                return
            self._give_back(len(chunk))
        with self._changed:
            if self._eof_in and not self._lost:
                with contextlib.suppress(OSError):  # our TCP peer is gone
                    self._sock.shutdown(socket.SHUT_WR)
                self._delivered_all = True

    def _next_chunk(self) -> bytes | None:
        with self._changed:
            while not (self._lost or self._broken):
                if self._inbound:
                    return self._inbound.popleft()
                if self._eof_in or self._close_in:
                    return None
                self._changed.wait(1.0)
        return None

    def _write(self, chunk: bytes) -> bool:
        rest = memoryview(chunk)
        try:
            while rest and not self._lost:
                with contextlib.suppress(BlockingIOError):  # SO_SNDTIMEO: our TCP peer reads slowly
                    rest = rest[self._sock.send(rest) :]
        except OSError:
            return False
        return True

    def _give_back(self, size: int) -> None:
        """Refill the peer's window for what has been delivered."""
        self._consumed += size
        if self._consumed < ADJUST_AFTER or self._eof_in or self._close_in:
            return
        amount, self._consumed = self._consumed, 0
        with self._changed:
            self._window_in += amount
        message = self._message(cMSG_CHANNEL_WINDOW_ADJUST)
        message.add_int(amount)
        self._session.say(message)

    # the end

    def _note_broken(self) -> None:
        with self._changed:
            self._broken = True
            self._inbound.clear()
            self._stop_collecting()

    def _finish(self) -> None:
        """Send CLOSE, then close the socket: with a reset if the stream to it was cut short."""
        if self.confirmed:
            self._say(cMSG_CHANNEL_CLOSE)
        with self._changed:
            self._close_out = True
            self._socket_open = False
            whole = self._delivered_all and (self._collected_all or not self._lost)
            if self.confirmed and not whole and not self._broken:
                set_reset(self._sock)
            self._sock.close()
            self._inbound.clear()
        self._forwarding.connection_ended(self)

    def _message(self, kind: bytes) -> Message:
        message = Message()
        message.add_byte(kind)
        message.add_int(self._remote)
        return message

    def _say(self, kind: bytes) -> None:
        self._session.say(self._message(kind))
