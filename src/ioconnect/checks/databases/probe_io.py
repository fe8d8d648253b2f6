"""Holds a database's dialogue over a socket: sends, reads exactly what is asked, starts TLS, keeps the deadline."""

from __future__ import annotations

import contextlib
import ssl
import time
from typing import TYPE_CHECKING

from ioconnect.checks.databases.protocol_probe import LONGEST, Move, NoTls

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from ioconnect.checks.databases.protocol_probe import Dialogue, Server


def converse(connect: Callable[[float], socket.socket], dialogue: Dialogue, deadline: float) -> Server:
    """Return what the dialogue makes of the server; `connect` is given the seconds that it may take.

    `deadline` is a time.monotonic(). Closes every connection. Raises NotThisServer, TurnedAway; EOFError,
    TimeoutError and NoTls if the dialogue did not make sense of them; OSError if there is no connection.
    """
    with contextlib.closing(_Conversation(connect, deadline)) as conversation:
        return conversation.hold(dialogue)


class _Conversation:
    """One dialogue and the connection that it has now."""

    def __init__(self, connect: Callable[[float], socket.socket], deadline: float) -> None:
        self._connect = connect
        self._deadline = deadline
        self._line = connect(self._remaining())

    def hold(self, dialogue: Dialogue) -> Server:
        try:
            step = next(dialogue)
            while True:
                try:
                    answer = self._take(step)
                except (EOFError, TimeoutError, NoTls) as trouble:  # noqa: PERF203  the network is slower
                    step = dialogue.throw(trouble)
                else:
                    step = dialogue.send(answer)
        except StopIteration as end:
            server: Server = end.value
            return server

    def close(self) -> None:
        self._line.close()

    def _take(self, step: bytes | int | Move) -> bytes:
        if step is Move.AGAIN:
            self._line.close()
            self._line = self._connect(self._remaining())
        elif step is Move.TLS:
            self._encrypt()
        elif isinstance(step, int):
            return self._read(step)
        elif isinstance(step, bytes):
            self._line.settimeout(self._remaining())
            with contextlib.suppress(ConnectionError):  # the next read tells
                self._line.sendall(step)
        return b""

    def _read(self, count: int) -> bytes:
        """Return exactly so many bytes."""
        assert count <= LONGEST
        got = b""
        while len(got) < count:
            self._line.settimeout(self._remaining())
            try:
                more = self._line.recv(count - len(got))
            except (ConnectionError, ssl.SSLError):
                more = b""
            if not more:
                raise EOFError
            got += more
        return got

    def _encrypt(self) -> None:
        # Whether it does TLS is the question, not who it is: nothing is entrusted to this connection.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._line.settimeout(self._remaining())
        try:
            self._line = context.wrap_socket(self._line)
        except TimeoutError:
            raise
        except OSError:
            raise NoTls from None

    def _remaining(self) -> float:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        return remaining
