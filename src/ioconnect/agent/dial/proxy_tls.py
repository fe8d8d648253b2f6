"""TLS to a proxy: the handshake, and the bridge that makes a plain socket of it.

The session's loop reads with recvmsg_into, sends with sendmsg and trusts select; an SSLSocket has neither call, and
may hold bytes that select does not see. So a pump thread stands between: the session gets one end of a socketpair.
It ends when either side closes, after what it holds has been delivered, and never holds more than two chunks.
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

    from ioconnect.agent.dial.deadline import Waiting
    from ioconnect.agent.dial.proxy import Proxy

CHUNK = 64 << 10  # bytes held at most, each way
LINGER = 5.0  # seconds for the proxy to take what is held and to close, once the session has closed

_WANTS = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError)


def trust(environ: Mapping[str, str]) -> ssl.SSLContext:
    """Return the context that verifies a proxy; SSL_CERT_FILE and SSL_CERT_DIR replace the system's authorities."""
    file, folder = environ.get("SSL_CERT_FILE") or None, environ.get("SSL_CERT_DIR") or None
    try:
        return ssl.create_default_context(cafile=file, capath=folder)
    except OSError as error:  # ssl.SSLError is one
        what = f"the certificates in {file or folder} cannot be read: {error.strerror or error}"
        raise ConfigInvalid(
            what, hint="Check SSL_CERT_FILE and SSL_CERT_DIR.", faults=(ConfigFault("SSL_CERT_FILE", what),)
        ) from error


def encrypted(sock: socket.socket, proxy: Proxy, context: ssl.SSLContext, waiting: Waiting) -> ssl.SSLSocket:
    """Shake hands with the proxy and return the socket inside TLS, non-blocking; closes `sock` if that fails.

    Raises ProxyRefused (an untrusted certificate, no TLS), TimeoutError, DialCancelled.
    """
    tls = context.wrap_socket(sock, server_hostname=proxy.address.host, do_handshake_on_connect=False)
    try:
        _shake_hands(tls, waiting)
    except BaseException as error:
        tls.close()
        fault = _fault(proxy, error)
        if fault is None:
            raise
        raise fault from error
    return tls


def _shake_hands(tls: ssl.SSLSocket, waiting: Waiting) -> None:
    while True:
        try:
            tls.do_handshake()
        except _WANTS as want:  # noqa: PERF203  a loop of waits
            waiting.ready({tls: wanted(want)})
        else:
            return


def _fault(proxy: Proxy, error: BaseException) -> ProxyRefused | None:
    """Return what a failed handshake means, None if it did not fail but was ended."""
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


def wanted(want: Exception) -> int:
    """Return the selector event for which a non-blocking call, TLS or plain, wants to wait."""
    return selectors.EVENT_WRITE if isinstance(want, ssl.SSLWantWriteError) else selectors.EVENT_READ


def bridged(tls: ssl.SSLSocket) -> socket.socket:
    """Return a plain non-blocking socket (AF_UNIX) that a thread of its own joins to `tls`, which it then owns."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    threading.Thread(target=_Pump(tls, ours).run, name="proxy-tls", daemon=True).start()
    return theirs


class _Pump:
    """Two directions between TLS and plain, each with one chunk in hand; lives in its own thread."""

    def __init__(self, tls: ssl.SSLSocket, plain: socket.socket) -> None:
        self._tls = tls
        self._plain = plain
        self._outbound = memoryview(b"")  # to the proxy
        self._inbound = memoryview(b"")  # to the session
        self._proxy_closed = False
        self._session_read = False  # to its end
        self._goodbye_said = False
        self._ends_at: float | None = None  # monotonic seconds; set once the session is known to have closed
        self._interests: dict[socket.socket, int] = {}

    def run(self) -> None:
        with self._tls, self._plain, contextlib.suppress(OSError):  # a broken side ends both; the session sees it
            while not self._over():
                self._interests = {}
                if not self._turn():
                    self._wait()

    def _over(self) -> bool:
        if self._proxy_closed:
            return not self._inbound
        return self._ends_at is not None and time.monotonic() >= self._ends_at

    def _turn(self) -> bool:
        """Move what can be moved in both directions; say whether anything was."""
        moved = self._write_inbound() if self._inbound else self._read_tls()
        if self._outbound:
            return self._write_outbound() or moved
        if not self._session_read:
            return self._read_plain() or moved
        if not self._goodbye_said:
            # Closed at once, with bytes still coming in, TCP would reset, and the proxy lose what it has not read.
            self._goodbye_said = True
            self._tls.shutdown(socket.SHUT_WR)
        return moved

    def _read_tls(self) -> bool:
        if self._proxy_closed:
            return False
        try:
            self._inbound = memoryview(self._tls.recv(CHUNK))
        except ssl.SSLEOFError:
            pass  # closed without TLS's goodbye, as many do
        except _WANTS as want:
            self._want(self._tls, wanted(want))
            return False
        self._proxy_closed = not self._inbound
        return True

    def _read_plain(self) -> bool:
        try:
            self._outbound = memoryview(self._plain.recv(CHUNK))
        except BlockingIOError:
            self._want(self._plain, selectors.EVENT_READ)
            return False
        except OSError:
            pass  # closed with bytes of ours unread: the end as well
        if not self._outbound:
            self._session_read = True
            self._begin_to_end()
        return True

    def _write_outbound(self) -> bool:
        try:
            sent = self._tls.send(self._outbound)
        except _WANTS as want:
            self._want(self._tls, wanted(want))
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
            sent = len(self._inbound)  # the session has closed and wants no more; what it sent still goes out
        self._inbound = self._inbound[sent:]
        return True

    def _want(self, sock: socket.socket, events: int) -> None:
        self._interests[sock] = self._interests.get(sock, 0) | events

    def _begin_to_end(self) -> None:
        if self._ends_at is None:
            self._ends_at = time.monotonic() + LINGER

    def _wait(self) -> None:
        """Wait for what the last turn wanted, and for the session to hang up, which needs poll(2)'s own event.

        While the proxy takes nothing, the session is not read, and its end would not be seen otherwise.
        """
        poller = select.poll()
        for sock, events in self._interests.items():
            reading = select.POLLIN if events & selectors.EVENT_READ else 0
            poller.register(sock, reading | (select.POLLOUT if events & selectors.EVENT_WRITE else 0))
        if self._ends_at is None:
            if self._plain not in self._interests:
                poller.register(self._plain, 0)
            timeout = None
        else:
            timeout = 1000 * max(0.0, self._ends_at - time.monotonic())
        if any(fd == self._plain.fileno() and event & select.POLLHUP for fd, event in poller.poll(timeout)):
            self._begin_to_end()
