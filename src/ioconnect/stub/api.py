"""The stand-in's API over HTTP: who may ask, how much, and in which form. `routes` knows what is asked."""

from __future__ import annotations

import contextlib
import hmac
import json
import logging
import socket
import socketserver
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from ioconnect.config.addresses import HostPort
from ioconnect.errors import Fault, SystemRefused
from ioconnect.escape import escaped
from ioconnect.stub.jumphost import require_loopback
from ioconnect.stub.routes import Refused

if TYPE_CHECKING:
    from ioconnect.stub.routes import Routes

BODY_LIMIT = 16 << 10  # bytes
PATIENCE = 10.0  # seconds that a client may be silent
POLL = 0.1  # seconds until `stop` is noticed
log = logging.getLogger(__name__)


class Api:
    """Serves `routes` on `listen` (port 0: any) from `start` to `stop`. Raises UsageFault unless on loopback."""

    def __init__(self, listen: HostPort, routes: Routes, token: str, *, allow_remote: bool = False) -> None:
        if not allow_remote:
            require_loopback(listen.host)
        self._listen = listen
        self._routes = routes
        self._token = token
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen and serve; does nothing when already started. Raises SystemRefused."""
        if self._server is not None:
            return
        try:
            self._server = _Server(self._listen, self._routes, self._token)
        except OSError as error:
            raise SystemRefused(
                f"cannot listen on {self._listen}: {error.strerror or error}", hint="Choose a free port (0: any)."
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=(POLL,), name="stub-api", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End every request and wait for all threads; idempotent."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.cut_requests()
        self._server.server_close()
        self._server = None

    @property
    def address(self) -> HostPort:
        """Where it listens; only while started."""
        assert self._server is not None, "not started"
        return HostPort(*self._server.server_address[:2])  # type: ignore[arg-type]  # typeshed: host may be bytes

    @property
    def url(self) -> str:
        """`http://host:port`."""
        return f"http://{self.address}"


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that server_close waits for them
    request_queue_size = 128

    def __init__(self, listen: HostPort, routes: Routes, token: str) -> None:
        self.address_family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        self.routes = routes
        self.token = token.encode()
        self._requests: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__((listen.host, listen.port), _Request)

    def server_bind(self) -> None:
        """Bind without the reverse name lookup of HTTPServer, which can take long and is for CGI."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self._requests.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._requests.discard(request)
        super().shutdown_request(request)

    def cut_requests(self) -> None:
        """Wake the threads that wait for clients."""
        with self._guard:
            for request in self._requests:
                with contextlib.suppress(OSError):  # the client is gone
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  socketserver's signature
        """Note what went wrong, for a client that left or a bug; socketserver would print it."""
        log.debug("request from %s failed", client_address, exc_info=sys.exc_info()[1])


class _Request(BaseHTTPRequestHandler):
    server: _Server
    timeout = PATIENCE
    server_version = "ioconnect-stub"
    sys_version = ""

    def _respond(self) -> None:
        try:
            self._check_token()
            path = unquote(urlsplit(self.path).path)
            status, document = self.server.routes.answer(
                self.command, path, self._body(), self.connection.getsockname()[0]
            )
        except Refused as refused:
            status, document = refused.status, {"error": str(refused)}
        except Fault as fault:
            status, document = HTTPStatus.INTERNAL_SERVER_ERROR, {"error": fault.message}
        self._send(status, document)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _respond  # noqa: N815  http.server's names

    def _check_token(self) -> None:
        scheme, _, given = (self.headers.get("Authorization") or "").partition(" ")
        known = hmac.compare_digest(given.strip().encode("utf-8", "replace"), self.server.token)
        if scheme.lower() != "bearer" or not known:
            raise Refused(HTTPStatus.UNAUTHORIZED, "the bearer token is missing or wrong")

    def _body(self) -> object:
        if self.headers.get("Transfer-Encoding"):
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "a body needs its length in Content-Length")
        length = self.headers.get("Content-Length") or "0"
        if not (length.isascii() and length.isdigit()):
            raise Refused(HTTPStatus.BAD_REQUEST, "Content-Length is not a number")
        if len(length) > len(str(BODY_LIMIT)) or int(length) > BODY_LIMIT:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has more than {BODY_LIMIT} bytes")
        content = self.rfile.read(int(length))
        if not content:
            return {}
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise Refused(HTTPStatus.BAD_REQUEST, "the body is not JSON") from None

    def _send(self, status: HTTPStatus, document: dict[str, Any]) -> None:
        content = json.dumps(document).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  http.server's signature
        """Log where the program logs, not to stderr."""
        log.debug("%s %s", self.client_address[0], escaped(format % args))
