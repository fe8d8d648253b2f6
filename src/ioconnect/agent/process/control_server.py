"""Serves the control sockets: HTTP/1.1 and JSON, one request per connection.

One thread accepts, and sleeps until somebody connects. Each connection has a thread of its own, for at most a few
seconds, which posts a request to the supervisor's mailbox and waits for the reply; the supervisor waits for nobody.
Another thread makes sockets anew which were removed (`upkeep`), once a minute: that may hang.
Bounds: `MAX_CLIENTS` at once (half of them from other users), `REQUEST_TIMEOUT` for a whole request, `MAX_REQUEST`.
A client that sends nothing makes room for the next one sooner than that: `PATIENCE`.
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
from collections import deque
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING

from ioconnect.agent.process.control_requests import Requests, error
from ioconnect.agent.process.http_request import Answer, RequestRefused, encoded, received
from ioconnect.agent.process.upkeep import Upkeep
from ioconnect.status.peer_credentials import Peer, peer_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ioconnect.agent.process.control_socket import BoundSocket
    from ioconnect.status.lock import AgentLock

log = logging.getLogger(__name__)

MAX_CLIENTS = 8
MAX_OTHERS = 4  # of them, by other users than the agent's and root
REQUEST_TIMEOUT = 2.0  # seconds, from the connection to the end of the request, and again for the answer
PATIENCE = 0.5  # seconds for a request when another client waits; clients of ours send it at once
DRAIN_TIMEOUT = 0.2  # seconds
MAX_REFUSED = 16  # refused connections that are kept open until the client has read why
REFUSED_TIMEOUT = 60.0  # seconds without an event after which they are closed
UPKEEP_INTERVAL = 60.0  # seconds, each a wake-up
MAX_DRAINED = 1 << 20  # bytes
CLOSE_TIMEOUT = 0.5  # seconds that answers in progress have at the agent's end
EXHAUSTED_DELAY = 1.0  # seconds to wait when there is no descriptor for a connection
_TOO_MANY = replace(
    error(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests at once", "Try again in a moment."),
    headers={"Retry-After": "1"},
)
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@dataclass(eq=False, slots=True)
class _Client:
    """A connection; `is_other`: by another user than the agent's and root."""

    connection: socket.socket
    is_other: bool
    is_received: bool = False  # its request is
    began: float = field(default_factory=time.monotonic)


@contextlib.contextmanager
def serving(paths: Sequence[Path], requests: Requests, lock: AgentLock | None = None) -> Iterator[None]:
    """Serve the sockets that can be bound, and keep them and the lock file where they are looked for."""
    with ControlServer(requests, Upkeep(paths, lock)) as server:
        server.start()
        yield


class ControlServer:
    """The threads that serve."""

    def __init__(self, requests: Requests, upkeep: Upkeep) -> None:
        self._requests = requests
        self._upkeep = upkeep
        self._wake_reader, self._wake_writer = os.pipe()
        self._refused: deque[socket.socket] = deque()  # belongs to the accepting thread
        self._condition = threading.Condition()  # guards the next four
        self._spare: int | None = None
        self._sockets: list[BoundSocket] = []
        self._clients: list[_Client] = []
        self._is_closing = False
        self._thread = threading.Thread(target=self._accept_all, name="control", daemon=True)

    def __enter__(self) -> ControlServer:  # noqa: PYI034  typing.Self came with 3.11
        """Return the server, which is closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop accepting, remove the sockets, and give answers in progress a moment."""
        with self._condition:
            self._is_closing = True
            self._condition.notify_all()
        os.write(self._wake_writer, b".")
        if self._thread.ident is not None:
            self._thread.join(CLOSE_TIMEOUT)
        for bound in self._sockets:
            bound.close()
        with self._condition:
            self._condition.wait_for(lambda: not self._clients, CLOSE_TIMEOUT)
        self._release_spare()

    def start(self) -> None:
        """Bind the sockets, and start the threads."""
        with self._condition:
            self._take_spare()
        self._sockets = self._upkeep.restore()
        self._thread.start()
        threading.Thread(target=self._restore_all, name="control upkeep", daemon=True).start()

    def _accept_all(self) -> None:
        while not self._is_closing:
            listeners = self._listeners()
            poller = select.poll()
            for descriptor in (*listeners, self._wake_reader):
                poller.register(descriptor, select.POLLIN)
            ready: list[int] = []
            while self._wake_reader not in ready:
                timeout = REFUSED_TIMEOUT * 1000 if self._refused else None
                ready = [descriptor for descriptor, _ in poller.poll(timeout)]
                for descriptor in ready:
                    if descriptor in listeners:
                        self._accept(listeners[descriptor])
                if not ready:
                    self._forget_refused(0)
            os.read(self._wake_reader, 1)
        self._forget_refused(0)

    def _listeners(self) -> dict[int, socket.socket]:
        with self._condition:
            return {bound.listener.fileno(): bound.listener for bound in self._sockets}

    def _restore_all(self) -> None:
        """Restore what was removed, once a minute. A thread of its own: its disk may hang."""
        while not self._closes_within(UPKEEP_INTERVAL):
            found = self._upkeep.restore()
            with self._condition:
                gone = [bound for bound in self._sockets if bound not in found]
                new = [bound for bound in found if bound not in self._sockets]
                self._sockets = found
                is_closing = self._is_closing
            for bound in new if is_closing else gone:
                bound.close()
            if new:
                os.write(self._wake_writer, b".")

    def _closes_within(self, timeout: float) -> bool:
        with self._condition:
            return self._condition.wait_for(lambda: self._is_closing, timeout)

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError as failure:
            if failure.errno in _EXHAUSTED and not self._release_spare():
                # The connection stays in the backlog: do not spin.
                self._closes_within(EXHAUSTED_DELAY)
            return
        with contextlib.ExitStack() as undo:
            undo.enter_context(connection)
            try:
                peer = peer_of(connection)
                client = _Client(connection, is_other=not self._requests.may_change(peer))
                if not self._admit(client):
                    self._refuse(connection)
                    undo.pop_all()
                    return
                undo.callback(self._leave, client)
            except OSError as failure:  # it has gone
                log.debug("a control connection was refused: %s", failure)
                return
            undo.pop_all()
        try:
            threading.Thread(target=self._serve, args=(client, peer), name="control client", daemon=True).start()
        except RuntimeError:  # "can't start new thread": the next one waits
            self._serve(client, peer)

    def _release_spare(self) -> bool:
        """Close the descriptor that is kept for when there is no other; return whether there was one."""
        with self._condition:
            spare, self._spare = self._spare, None
        if spare is not None:
            os.close(spare)
        return spare is not None

    def _take_spare(self) -> None:
        """Keep a descriptor. Holds `_condition`."""
        if self._spare is None and not self._is_closing:
            with contextlib.suppress(OSError):
                self._spare = os.dup(self._wake_reader)

    def _admit(self, client: _Client) -> bool:
        with self._condition:
            if self._is_full(client):
                self._make_room(client)
            admitted = not self._is_full(client)
            if admitted:
                self._clients.append(client)
            return admitted

    def _is_full(self, client: _Client) -> bool:
        others = sum(each.is_other for each in self._clients)
        return len(self._clients) >= MAX_CLIENTS or (client.is_other and others >= MAX_OTHERS)

    def _make_room(self, client: _Client) -> None:
        """End the oldest connection that has not sent its request; another user's client never ends one of ours."""
        latest = client.began - PATIENCE
        for each in self._clients:
            if not each.is_received and each.began < latest and (each.is_other or not client.is_other):
                self._clients.remove(each)
                with contextlib.suppress(OSError):  # it has gone
                    each.connection.shutdown(socket.SHUT_RDWR)  # its thread reads the end, and leaves
                return

    def _refuse(self, connection: socket.socket) -> None:
        """Say that there are too many, without waiting: who floods the socket must not keep others from it.

        Closing it with unread data would reset the answer, so it stays open until nobody has come for a minute, or
        MAX_REFUSED others were refused.
        """
        self._refused.append(connection)
        self._forget_refused(MAX_REFUSED)
        connection.setblocking(False)
        connection.send(encoded(_TOO_MANY))
        connection.shutdown(socket.SHUT_WR)

    def _forget_refused(self, most: int) -> None:
        """Close the oldest refused connections until there are at most so many."""
        while len(self._refused) > most:
            self._refused.popleft().close()

    def _leave(self, client: _Client) -> None:
        with self._condition:
            if client in self._clients:
                self._clients.remove(client)
            self._take_spare()
            self._condition.notify_all()

    def _serve(self, client: _Client, peer: Peer) -> None:
        """Receive one request, and answer it. A thread of its own, which never raises."""
        try:
            with client.connection as connection:
                answer = self._answer(client, peer)
                connection.settimeout(REQUEST_TIMEOUT)
                connection.sendall(encoded(answer))
                _drain(connection)
        except OSError as failure:  # the client has gone, or does not read
            log.debug("a control connection ended: %s", failure)
        except Exception:
            log.exception("a bug: a request of the control socket was not answered")
        finally:
            self._leave(client)

    def _answer(self, client: _Client, peer: Peer) -> Answer:
        try:
            request = received(client.connection, client.began + REQUEST_TIMEOUT)
        except RequestRefused as refused:
            return error(refused.status, refused.message)
        finally:
            client.is_received = True
        return self._requests.answer(request, peer)


def _drain(connection: socket.socket) -> None:
    """Receive what is left of a refused request: closing a socket with unread data would reset the answer."""
    connection.shutdown(socket.SHUT_WR)
    end, left = time.monotonic() + DRAIN_TIMEOUT, MAX_DRAINED
    while left > 0 and (remaining := end - time.monotonic()) > 0:
        connection.settimeout(remaining)
        data = connection.recv(left)
        if not data:
            return
        left -= len(data)
