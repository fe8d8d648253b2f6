"""What the control socket answers: paths, methods, who may, and the messages to the supervisor."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ioconnect.agent.process.drift import Drift
from ioconnect.agent.process.http_request import Answer, HttpRequest
from ioconnect.agent.supervisor.mailbox import (
    GetRunning,
    GetSnapshot,
    Reconnect,
    Reload,
    Request,
    StartTunnels,
    Stop,
    StopTunnels,
)
from ioconnect.agent.supervisor.reload import Changes, Running
from ioconnect.errors import ExitCode, Fault
from ioconnect.fault_document import error_of
from ioconnect.status import disk, lock, snapshots
from ioconnect.status.control import LOCK_HEADER, check_config
from ioconnect.status.snapshots import Snapshot, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from ioconnect.agent.supervisor.mailbox import Command, Mailbox
    from ioconnect.config.paths import Paths
    from ioconnect.status.peer_credentials import Peer

log = logging.getLogger(__name__)

QUESTION_TIMEOUT = 1.5  # seconds for the supervisor to answer a GET; clients wait for 2
CHANGE_TIMEOUT = 12.0  # seconds for a POST; clients wait for 15
READY = (State.CONNECTED, State.STANDBY)
_STATUS_OF = {
    ExitCode.USAGE: HTTPStatus.BAD_REQUEST,
    ExitCode.UNAVAILABLE: HTTPStatus.CONFLICT,
    ExitCode.TEMP_FAIL: HTTPStatus.SERVICE_UNAVAILABLE,
    ExitCode.CONFIG: HTTPStatus.UNPROCESSABLE_ENTITY,
    ExitCode.NO_INPUT: HTTPStatus.UNPROCESSABLE_ENTITY,
}


class Requests:
    """Answers requests; any thread. `identity` is that of the agent's lock file, which may be removed later."""

    def __init__(self, mailbox: Mailbox, paths: Paths, identity: str) -> None:
        self._mailbox = mailbox
        self._paths = paths
        self._identities = (None, lock.name(paths.lock), identity)
        self._drift = Drift(paths)
        self._routes: dict[str, tuple[str, Callable[[HttpRequest], Answer]]] = {
            "/v1/status": ("GET", self._status),
            "/livez": ("GET", self._livez),
            "/readyz": ("GET", self._readyz),
            "/v1/reload": ("POST", self._reload),
            "/v1/reconnect": ("POST", self._reconnect),
            "/v1/up": ("POST", self._up),
            "/v1/down": ("POST", self._down),
        }

    @staticmethod
    def may_change(peer: Peer) -> bool:
        """Whether the peer may send a POST: a process of root or of the agent's own user."""
        return peer.uid in (0, os.geteuid())

    def answer(self, request: HttpRequest, peer: Peer) -> Answer:
        """Return the answer to a request of this peer."""
        if not self._is_meant(request.headers.get(LOCK_HEADER.lower())):
            return error(HTTPStatus.MISDIRECTED_REQUEST, "this is the agent of another installation")
        method, route = self._routes.get(request.path, ("", None))
        if route is None:
            return error(HTTPStatus.NOT_FOUND, "there is no such path")
        if request.method != method:
            answer = error(HTTPStatus.METHOD_NOT_ALLOWED, f"this path is for {method}")
            return replace(answer, headers={"Allow": method})
        if method == "POST":
            if not self.may_change(peer):
                return error(
                    HTTPStatus.FORBIDDEN,
                    f"only root and the agent's own user (uid {os.geteuid()}) may do this",
                    "Use sudo, or be that user.",
                    ExitCode.NO_PERMISSION,
                )
            log.info("%s requested by pid %s, uid %d", request.path, peer.pid or "unknown", peer.uid)
        try:
            return route(request)
        except Fault as fault:
            return _fault_answer(fault)

    def _is_meant(self, identity: str | None) -> bool:
        """Whether a client with this lock means this agent: by the file's path, or by the file it locked.

        The state folder may have been removed or renamed, and the file be missing or made anew since.
        """
        if identity in self._identities:  # first, as the folder's disk may hang
            return True
        with contextlib.suppress(OSError):
            return identity == disk.within_timeout(self._paths.lock, lambda: lock.identity(self._paths.lock))
        return False

    def _status(self, _request: HttpRequest) -> Answer:
        return Answer(HTTPStatus.OK, snapshots.to_json(self._snapshot_with_drift()))

    def _livez(self, _request: HttpRequest) -> Answer:
        self._snapshot()
        return Answer(HTTPStatus.OK, {"live": True})

    def _readyz(self, request: HttpRequest) -> Answer:
        tunnels = [tunnel for tunnel in self._snapshot().tunnels if tunnel.enabled]
        name = request.query.get("tunnel")
        if name is not None:
            tunnels = [tunnel for tunnel in tunnels if tunnel.name == name]
            if not tunnels:
                return error(HTTPStatus.NOT_FOUND, f"the agent does not run a tunnel {name!r}")
        waiting = [tunnel.name for tunnel in tunnels if tunnel.state not in READY]
        is_ready = bool(tunnels) and not waiting
        status = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        return Answer(status, {"ready": is_ready, "waiting": waiting})

    def _reload(self, request: HttpRequest) -> Answer:
        if self._tunnels_of(request):
            raise _bad_request("a reload is of the whole configuration, not of single tunnels")
        return Answer(HTTPStatus.OK, _changes_to_json(self._ask(Reload(), CHANGE_TIMEOUT)))

    def _reconnect(self, request: HttpRequest) -> Answer:
        names = self._tunnels_of(request)
        before = {tunnel.name for tunnel in self._snapshot().tunnels if tunnel.state is State.CONNECTED}
        done = self._ask(Reconnect(names), CHANGE_TIMEOUT)
        assert isinstance(done, tuple)
        return Answer(HTTPStatus.OK, {"tunnels": done, "connected": [name for name in done if name in before]})

    def _up(self, request: HttpRequest) -> Answer:
        names = self._tunnels_of(request)
        return Answer(HTTPStatus.OK, _changes_to_json(self._ask(StartTunnels(names), CHANGE_TIMEOUT)))

    def _down(self, request: HttpRequest) -> Answer:
        names = self._tunnels_of(request)
        command = StopTunnels(names) if names else Stop()
        return Answer(HTTPStatus.OK, {"tunnels": self._ask(command, CHANGE_TIMEOUT)})

    def _tunnels_of(self, request: HttpRequest) -> tuple[str, ...]:
        """Return the names in the body (none: all); it may name the configuration that is meant. Raises Fault."""
        try:
            document: Any = json.loads(request.body or b"{}")
        except (ValueError, RecursionError):
            document = None
        is_known = isinstance(document, dict) and document.keys() <= {"tunnels", "config"}
        names = document.get("tunnels", []) if is_known else None  # a misspelt key must not mean all tunnels
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise _bad_request('the body is not JSON like {"tunnels": ["NAME"]}')
        check_config(document, self._paths.config)
        return tuple(dict.fromkeys(names))

    def _snapshot(self) -> Snapshot:
        found = self._ask(GetSnapshot(), QUESTION_TIMEOUT)
        assert isinstance(found, Snapshot)
        return found

    def _snapshot_with_drift(self) -> Snapshot:
        running = self._ask(GetRunning(), QUESTION_TIMEOUT)
        assert isinstance(running, Running)
        return self._drift.marked(self._snapshot(), running)

    def _ask(self, command: Command, timeout: float) -> object:
        """Have the supervisor carry out a command, and return its reply. Raises the Fault that it replied."""
        replies: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._mailbox.put(Request(command, replies.put))
        try:
            reply = replies.get(timeout=timeout)
        except queue.Empty:
            raise SupervisorSilent("the supervisor does not answer") from None
        if isinstance(reply, Fault):
            raise reply
        return reply


class SupervisorSilent(Fault):
    """The supervisor did not reply in time."""

    exit_code = ExitCode.UNAVAILABLE


class _BadRequest(Fault):
    exit_code = ExitCode.USAGE


def _bad_request(message: str) -> Fault:
    return _BadRequest(message)


def error(status: int, message: str, hint: str = "", exit_code: ExitCode = ExitCode.UNAVAILABLE) -> Answer:
    """Return the answer of a request that failed."""
    return Answer(status, {"error": error_of(Fault(message, hint=hint), exit_code)})


def _fault_answer(fault: Fault) -> Answer:
    silent = isinstance(fault, SupervisorSilent)
    status = HTTPStatus.GATEWAY_TIMEOUT if silent else _STATUS_OF.get(fault.exit_code)
    return Answer(status or HTTPStatus.INTERNAL_SERVER_ERROR, {"error": error_of(fault, fault.exit_code)})


def _changes_to_json(changes: object) -> dict[str, object]:
    assert isinstance(changes, Changes)
    return {
        "added": [new.tunnel.name for new in changes.added],
        "changed": [new.tunnel.name for new in changes.changed],
        "removed": changes.removed,
        "unchanged": changes.unchanged,
        "outdated": changes.outdated,
        "not_started": changes.not_started,
    }
