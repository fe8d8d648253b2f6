"""Runs a protocol probe over sockets: sends, reads exact counts, reconnects, starts TLS, within a deadline."""

from __future__ import annotations

import contextlib
import ssl
import time
from typing import TYPE_CHECKING

from ioconnect.checks.databases.protocol_probe import MAX_READ, Action, TlsRefused

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from ioconnect.checks.databases.protocol_probe import Probe, Server


def run_probe(connect: Callable[[float], socket.socket], probe: Probe, deadline: float) -> Server:
    """Return the server that the probe identifies; `connect` takes a timeout in seconds.

    `deadline` is a time.monotonic(). Closes every connection. Raises ProtocolMismatch, ClientRejected; EOFError,
    TimeoutError and TlsRefused if the probe does not handle them; OSError if there is no connection.
    """
    with contextlib.closing(_ProbeIO(connect, deadline)) as probe_io:
        return probe_io.run(probe)


class _ProbeIO:
    """The present connection of a probe."""

    def __init__(self, connect: Callable[[float], socket.socket], deadline: float) -> None:
        self._connect = connect
        self._deadline = deadline
        self._sock = connect(self._remaining())

    def run(self, probe: Probe) -> Server:
        try:
            step = next(probe)
            while True:
                try:
                    answer = self._take(step)
                except (EOFError, TimeoutError, TlsRefused) as error:  # noqa: PERF203  the network is slower
                    step = probe.throw(error)
                else:
                    step = probe.send(answer)
        except StopIteration as end:
            server: Server = end.value
            return server

    def close(self) -> None:
        self._sock.close()

    def _take(self, step: bytes | int | Action) -> bytes:
        if step is Action.RECONNECT:
            self._sock.close()
            self._sock = self._connect(self._remaining())
        elif step is Action.TLS:
            self._encrypt()
        elif isinstance(step, int):
            return self._read(step)
        elif isinstance(step, bytes):
            self._sock.settimeout(self._remaining())
            with contextlib.suppress(ConnectionError):  # the next read raises EOFError
                self._sock.sendall(step)
        return b""

    def _read(self, count: int) -> bytes:
        """Return exactly `count` bytes. Raises EOFError, TimeoutError."""
        assert count <= MAX_READ
        got = b""
        while len(got) < count:
            self._sock.settimeout(self._remaining())
            try:
                more = self._sock.recv(count - len(got))
            except (ConnectionError, ssl.SSLError):
                more = b""
            if not more:
                raise EOFError
            got += more
        return got

    def _encrypt(self) -> None:
        # No verification: the probe only finds out whether the server supports TLS, and sends no secrets.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._sock.settimeout(self._remaining())
        try:
            self._sock = context.wrap_socket(self._sock)
        except TimeoutError:
            raise
        except OSError:
            raise TlsRefused from None

    def _remaining(self) -> float:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        return remaining
