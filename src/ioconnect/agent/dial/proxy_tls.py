"""TLS to a proxy: the handshake, and a pump thread between the TLS connection and a plain socket.

The session's loop uses recvmsg_into, sendmsg and poll; an SSLSocket has neither of the calls, and may buffer bytes
that poll does not report. So a thread copies between it and a socketpair, whose other end the session gets. The
thread ends when either side closes, after its buffers are written, and buffers one chunk for each direction at most.
"""

from __future__ import annotations

import contextlib
import select
import selectors
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING

from ioconnect.errors import ConfigFault, ConfigInvalid, ProxyRefused
from ioconnect.escape import escaped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ioconnect.agent.dial.deadline import Deadline
    from ioconnect.agent.dial.proxy import Proxy

CHUNK_SIZE = 64 << 10  # bytes buffered for each direction
LINGER_TIMEOUT = 5.0  # seconds after the session closed for the proxy to take the buffer and close

WANTS = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError)


def create_context(environ: Mapping[str, str]) -> ssl.SSLContext:
    """Return a context that verifies the proxy; SSL_CERT_FILE and SSL_CERT_DIR replace the system's CA certificates.

    Raises ConfigInvalid if they cannot be read.
    """
    file, folder = environ.get("SSL_CERT_FILE") or None, environ.get("SSL_CERT_DIR") or None
    try:
        return ssl.create_default_context(cafile=file, capath=folder)
    except OSError as error:  # ssl.SSLError is one
        what = f"the certificates in {file or folder} cannot be read: {error.strerror or error}"
        raise ConfigInvalid(
            what, hint="Check SSL_CERT_FILE and SSL_CERT_DIR.", faults=(ConfigFault("SSL_CERT_FILE", what),)
        ) from error


def start_tls(sock: socket.socket, proxy: Proxy, context: ssl.SSLContext, deadline: Deadline) -> ssl.SSLSocket:
    """Do the TLS handshake with the proxy and return the non-blocking TLS socket; closes `sock` if that fails.

    Raises ProxyRefused (an untrusted certificate, no TLS), TimeoutError, DialCancelled.
    """
    tls = context.wrap_socket(sock, server_hostname=proxy.address.host, do_handshake_on_connect=False)
    try:
        _do_handshake(tls, deadline)
    except BaseException as error:
        tls.close()
        fault = _tls_fault(proxy, error)
        if fault is None:
            raise
        raise fault from error
    return tls


def _do_handshake(tls: ssl.SSLSocket, deadline: Deadline) -> None:
    while True:
        try:
            tls.do_handshake()
        except WANTS as want:  # noqa: PERF203  a loop of waits
            deadline.wait({tls: wanted_event(want)})
        else:
            return


def _tls_fault(proxy: Proxy, error: BaseException) -> ProxyRefused | None:
    """Return the fault of a failed handshake; None for a timeout or cancellation."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return ProxyRefused(
            f"the certificate of the proxy {proxy} is not trusted: {escaped(error.verify_message)}",
            hint="Get the network's own certificate authority from the network team; SSL_CERT_FILE names its file.",
        )
    if isinstance(error, TimeoutError) or not isinstance(error, OSError):
        return None
    cause = getattr(error, "reason", None) or error.strerror or str(error)
    return ProxyRefused(
        f"no TLS with the proxy {proxy}: {escaped(cause)}", hint="If it is a plain proxy, write http:// in its URL."
    )


def wanted_event(want: Exception) -> int:
    """Return the selector event that a non-blocking call, TLS or plain, has to wait for."""
    return selectors.EVENT_WRITE if isinstance(want, ssl.SSLWantWriteError) else selectors.EVENT_READ


def bridge(tls: ssl.SSLSocket) -> socket.socket:
    """Return a plain non-blocking socket (AF_UNIX); a new thread copies between it and `tls`, and owns `tls`."""
    pump_end, session_end = socket.socketpair()
    pump_end.setblocking(False)
    session_end.setblocking(False)
    threading.Thread(target=_Pump(tls, pump_end).run, name="proxy-tls", daemon=True).start()
    return session_end


class _Pump:
    """Copies between TLS and plain socket, both directions with a buffer of one chunk; runs in its own thread."""

    def __init__(self, tls: ssl.SSLSocket, plain: socket.socket) -> None:
        self._tls = tls
        self._plain = plain
        self._outbound = memoryview(b"")  # to the proxy
        self._inbound = memoryview(b"")  # to the session
        self._proxy_closed = False
        self._session_eof = False  # EOF read from it
        self._shutdown_sent = False
        self._linger_until: float | None = None  # monotonic seconds; set once the session closed
        self._interests: dict[socket.socket, int] = {}

    def run(self) -> None:
        with self._tls, self._plain, contextlib.suppress(OSError):  # an error on one side closes both
            while not self._is_done():
                self._interests = {}
                if not self._transfer():
                    self._wait()

    def _is_done(self) -> bool:
        if self._proxy_closed:
            return not self._inbound
        return self._linger_until is not None and time.monotonic() >= self._linger_until

    def _transfer(self) -> bool:
        """Copy what can be copied without blocking; say whether anything was."""
        moved = self._write_inbound() if self._inbound else self._read_tls()
        if self._outbound:
            return self._write_outbound() or moved
        if not self._session_eof:
            return self._read_plain() or moved
        if not self._shutdown_sent:
            # close(2) with unread input would send a RST, and the proxy would lose what it has not read yet.
            self._shutdown_sent = True
            self._tls.shutdown(socket.SHUT_WR)
        return moved

    def _read_tls(self) -> bool:
        if self._proxy_closed:
            return False
        try:
            self._inbound = memoryview(self._tls.recv(CHUNK_SIZE))
        except ssl.SSLEOFError:
            pass  # closed without close_notify, as many do
        except WANTS as want:
            self._want(self._tls, wanted_event(want))
            return False
        self._proxy_closed = not self._inbound
        return True

    def _read_plain(self) -> bool:
        try:
            self._outbound = memoryview(self._plain.recv(CHUNK_SIZE))
        except BlockingIOError:
            self._want(self._plain, selectors.EVENT_READ)
            return False
        except OSError:
            pass  # closed with unread bytes: EOF as well
        if not self._outbound:
            self._session_eof = True
            self._start_linger()
        return True

    def _write_outbound(self) -> bool:
        try:
            sent = self._tls.send(self._outbound)
        except WANTS as want:
            self._want(self._tls, wanted_event(want))
            return False
        self._outbound = self._outbound[sent:]
        return True

    def _write_inbound(self) -> bool:
        try:
            sent = self._plain.send(self._inbound)
        except BlockingIOError:
            self._want(self._plain, selectors.EVENT_WRITE)
            return False
        except OSError:
            sent = len(self._inbound)  # the session closed: drop it, but still send what it wrote
        self._inbound = self._inbound[sent:]
        return True

    def _want(self, sock: socket.socket, events: int) -> None:
        self._interests[sock] = self._interests.get(sock, 0) | events

    def _start_linger(self) -> None:
        if self._linger_until is None:
            self._linger_until = time.monotonic() + LINGER_TIMEOUT

    def _wait(self) -> None:
        """Wait until a copy can go on, or the session closed (POLLHUP).

        While the proxy takes no data the session's socket is not read, so EOF would not be noticed otherwise.
        """
        poller = select.poll()
        for sock, events in self._interests.items():
            reading = select.POLLIN if events & selectors.EVENT_READ else 0
            poller.register(sock, reading | (select.POLLOUT if events & selectors.EVENT_WRITE else 0))
        if self._linger_until is None:
            if self._plain not in self._interests:
                poller.register(self._plain, 0)
            timeout = None
        else:
            timeout = 1000 * max(0.0, self._linger_until - time.monotonic())
        if any(fd == self._plain.fileno() and event & select.POLLHUP for fd, event in poller.poll(timeout)):
            self._start_linger()
