"""One connection that the jumphost accepted on an allocated port: its TCP socket and its channel, joined.

The collecting thread (`run`) owns the connection: it opens the channel, sends DATA and EOF, starts and joins the
delivering thread, and sends CLOSE last of all, so nothing can follow it (RFC 4254 §5.3). The delivering thread sends
only WINDOW_ADJUST.

Ends, as sshd has them: EOF one way leaves the other open; a reset on our side becomes EOF and CLOSE. One thing is
stricter: when the channel or the session ends before its EOF, our side is reset, so a cut stream never looks whole.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING

from paramiko.common import (
    cMSG_CHANNEL_CLOSE,
    cMSG_CHANNEL_DATA,
    cMSG_CHANNEL_EOF,
    cMSG_CHANNEL_OPEN,
    cMSG_CHANNEL_WINDOW_ADJUST,
)

from ioconnect.stub.channel import PACKET, WINDOW, Channel
from ioconnect.stub.wire import set_reset

if TYPE_CHECKING:
    from ioconnect.stub.forwarding import Forwarding
    from ioconnect.stub.session import Session

OPEN_DEADLINE = 60.0  # seconds for the answer to CHANNEL_OPEN, else the session is over
SEND_SLICE = struct.pack("ll", 0, 200_000)  # struct timeval: how soon a blocked write notices the session's end


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
        self.origin = origin
        self.channel = Channel(number, self._interrupt)
        self._session = session
        self._forwarding = forwarding
        self._sock: socket.socket | None = sock  # None once closed; changed under the channel's lock
        self._bound = bound
        self._collected_all = False
        self._delivered_all = False
        self._thread = threading.Thread(target=self.run, name=f"stub-collect-{number}", daemon=True)

    def start(self) -> None:
        """Open the channel and carry traffic until both ends are done, in threads of its own."""
        self._thread.start()

    def join(self, timeout: float) -> None:
        """Wait for the end."""
        self._thread.join(timeout)

    def run(self) -> None:
        """Own the connection from CHANNEL_OPEN to CHANNEL_CLOSE; the collecting thread's work."""
        assert self._sock is not None
        sock = self._sock
        deliverer = threading.Thread(
            target=self._deliver, args=(sock,), name=f"stub-deliver-{self.channel.number}", daemon=True
        )
        try:
            if self._open():
                deliverer.start()
                try:
                    self._collect(sock)
                finally:
                    deliverer.join()
        finally:
            self._finish(sock)

    def _open(self) -> bool:
        self._session.say(
            cMSG_CHANNEL_OPEN, "forwarded-tcpip", self.channel.number, WINDOW, PACKET, *self._bound, *self.origin
        )
        while not self.channel.answered(OPEN_DEADLINE):
            if not self._session.wire.frozen:
                self._session.expel(f"channel {self.channel.number}: no answer to channel open")
        return self.channel.confirmed and not self.channel.lost

    def _collect(self, sock: socket.socket) -> None:
        """TCP → channel, until EOF here, CLOSE there, or the end of the session."""
        while allowed := self.channel.window():
            try:
                data = sock.recv(allowed)
            except OSError:
                data = b""
                self.channel.note_broken()
            if not data:
                self._session.say(cMSG_CHANNEL_EOF, self.channel.remote_number)
                self._collected_all = True
                return
            self.channel.spend(len(data))
            self._session.wire.wait_for_room()
            self._session.say(cMSG_CHANNEL_DATA, self.channel.remote_number, data)

    def _deliver(self, sock: socket.socket) -> None:
        """Channel → TCP, until everything before EOF or CLOSE is written; the delivering thread's work."""
        while (chunk := self.channel.next_chunk()) is not None:
            if not self._write(sock, chunk):
                self.channel.note_broken()
                return
            if amount := self.channel.give_back(len(chunk)):
                self._session.say(cMSG_CHANNEL_WINDOW_ADJUST, self.channel.remote_number, amount)
        if self.channel.eof_in and not self.channel.lost:
            with contextlib.suppress(OSError):  # our TCP peer is gone
                sock.shutdown(socket.SHUT_WR)
            self._delivered_all = True

    def _write(self, sock: socket.socket, chunk: bytes) -> bool:
        rest = memoryview(chunk)
        try:
            while rest and not self.channel.lost:
                with contextlib.suppress(BlockingIOError):  # SO_SNDTIMEO: our TCP peer reads slowly
                    rest = rest[sock.send(rest) :]
        except OSError:
            return False
        return True

    def _finish(self, sock: socket.socket) -> None:
        """Send CLOSE, then close the socket: with a reset if the stream to it was cut short."""
        channel = self.channel
        if channel.confirmed:
            self._session.say(cMSG_CHANNEL_CLOSE, channel.remote_number)
        with channel.changed:
            channel.close_out = True
            self._sock = None
            whole = self._delivered_all and (self._collected_all or not channel.lost)
            if channel.confirmed and not whole and not channel.broken:
                set_reset(sock)
            sock.close()
        self._forwarding.connection_ended(self)

    def _interrupt(self) -> None:
        """Wake the collecting thread from `recv`; the channel's lock is held."""
        if self._sock is not None:
            with contextlib.suppress(OSError):  # already disconnected
                self._sock.shutdown(socket.SHUT_RD)
