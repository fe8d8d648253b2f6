"""Serves the control sockets: HTTP/1.1 and JSON, one request per connection.

One thread accepts and sleeps until somebody connects; each connection has a thread of its own for at most a few
seconds. They post requests to the supervisor's mailbox and wait for the reply; the supervisor waits for nobody.
Bounds: `MAX_CLIENTS` at once (half of them from other users), `REQUEST_TIMEOUT` for a whole request, `MAX_REQUEST`.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import socket
import threading
import time
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING

from ioconnect.agent.process.control_requests import Requests, error
from ioconnect.agent.process.control_socket import BoundSocket, bind
from ioconnect.agent.process.http_request import Answer, RequestRefused, encoded, received
from ioconnect.status.control_folder import SocketRefused
from ioconnect.status.peer_credentials import Peer, peer_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

MAX_CLIENTS = 8
MAX_OTHERS = 4  # of them, by other users than the agent's and root
REQUEST_TIMEOUT = 2.0  # seconds, from the connection to the end of the request, and again for the answer
DRAIN_TIMEOUT = 0.2  # seconds
MAX_DRAINED = 1 << 20  # bytes
CLOSE_TIMEOUT = 0.5  # seconds that answers in progress have at the agent's end
EXHAUSTED_DELAY = 1.0  # seconds to wait when there is no descriptor for a connection
_TOO_MANY = replace(
    error(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests at once", "Try again in a moment."),
    headers={"Retry-After": "1"},
)
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@contextlib.contextmanager
def serving(paths: Sequence[Path], requests: Requests) -> Iterator[None]:
    """Serve the sockets that can be bound; each that cannot is a warning in the log, and the agent goes on."""
    with ControlServer(requests) as server:
        for path in paths:
            bound = _bound(path)
            if bound is not None:
                server.add(bound)
        server.start()
        yield


def _bound(path: Path) -> BoundSocket | None:
    try:
        return bind(path)
    except SocketRefused as fault:
        log.warning("no control socket: %s", fault.message)
    except FileNotFoundError:
        log.info("no control socket in %s, whose parent does not exist", path.parent)
    except OSError as failure:
        log.warning("no control socket %s: %s", path, failure.strerror or failure)
    return None


class ControlServer:
    """The threads that serve; add sockets, then start."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._sockets: list[BoundSocket] = []
        self._wake_reader, self._wake_writer = os.pipe()
        self._condition = threading.Condition()
        self._clients: list[bool] = []  # one for each connection: whether it is another user's
        self._thread = threading.Thread(target=self._accept_all, name="control", daemon=True)

    def __enter__(self) -> ControlServer:  # noqa: PYI034  typing.Self came with 3.11
        """Return the server, which is closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop accepting, remove the sockets, and give answers in progress a moment."""
        os.write(self._wake_writer, b".")
        if self._thread.ident is not None:
            self._thread.join(CLOSE_TIMEOUT)
        for bound in self._sockets:
            bound.close()
        with self._condition:
            self._condition.wait_for(lambda: not self._clients, CLOSE_TIMEOUT)

    def add(self, bound: BoundSocket) -> None:
        """Serve this socket too; before the start."""
        bound.listener.setblocking(False)
        self._sockets.append(bound)

    def start(self) -> None:
        """Start the thread, if there is a socket."""
        if self._sockets:
            self._thread.start()

    def _accept_all(self) -> None:
        listeners = {bound.listener.fileno(): bound.listener for bound in self._sockets}
        poller = select.poll()
        for descriptor in (*listeners, self._wake_reader):
            poller.register(descriptor, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in poller.poll()]
            if self._wake_reader in ready:
                return
            for descriptor in ready:
                self._accept(listeners[descriptor])

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError as failure:
            if failure.errno in _EXHAUSTED:  # the connection stays in the backlog: do not spin
                select.select([self._wake_reader], [], [], EXHAUSTED_DELAY)
            return
        with contextlib.ExitStack() as undo:
            undo.enter_context(connection)
            try:
                peer = peer_of(connection)
                is_other = not self._requests.may_change(peer)
                if not self._admit(is_other=is_other):
                    connection.setblocking(False)
                    connection.send(encoded(_TOO_MANY))
                    return
                undo.callback(self._leave, is_other=is_other)
                thread = threading.Thread(
                    target=self._serve, args=(connection, peer), kwargs={"is_other": is_other}, name="control client"
                )
                thread.daemon = True
                thread.start()
            except (OSError, RuntimeError) as failure:  # it has gone, or "can't start new thread"
                log.debug("a control connection was refused: %s", failure)
                return
            undo.pop_all()

    def _admit(self, *, is_other: bool) -> bool:
        with self._condition:
            admitted = len(self._clients) < MAX_CLIENTS and not (is_other and sum(self._clients) >= MAX_OTHERS)
            if admitted:
                self._clients.append(is_other)
            return admitted

    def _leave(self, *, is_other: bool) -> None:
        with self._condition:
            self._clients.remove(is_other)
            self._condition.notify_all()

    def _serve(self, connection: socket.socket, peer: Peer, *, is_other: bool) -> None:
        """Receive one request, and answer it. A thread of its own, which never raises."""
        try:
            with connection:
                answer = self._answer(connection, peer)
                connection.settimeout(REQUEST_TIMEOUT)
                connection.sendall(encoded(answer))
                _drain(connection)
        except OSError as failure:  # the client has gone, or does not read
            log.debug("a control connection ended: %s", failure)
        except Exception:
            log.exception("a bug: a request of the control socket was not answered")
        finally:
            self._leave(is_other=is_other)

    def _answer(self, connection: socket.socket, peer: Peer) -> Answer:
        try:
            request = received(connection, time.monotonic() + REQUEST_TIMEOUT)
        except RequestRefused as refused:
            return error(refused.status, refused.message)
        return self._requests.answer(request, peer)


def _drain(connection: socket.socket) -> None:
    """Receive what is left of a refused request: closing a socket with unread data would reset the answer."""
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(DRAIN_TIMEOUT)
    left = MAX_DRAINED
    while left > 0 and (data := connection.recv(left)):
        left -= len(data)
