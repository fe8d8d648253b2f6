"""The control socket's two ends, and the status document."""

from __future__ import annotations

import json
import os
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tests.fuzz.target import Target
from tests.rigs.memory_socket import MemorySocket

from ioconnect.agent.process.control_requests import Requests, error
from ioconnect.agent.process.http_request import RequestRefused, encoded, received
from ioconnect.agent.supervisor.mailbox import GetSnapshot, Request
from ioconnect.config.paths import Paths
from ioconnect.errors import AgentNotRunning
from ioconnect.status import control, overview, render, snapshots
from ioconnect.status.peer_credentials import Peer

if TYPE_CHECKING:
    import socket

PATHS = Paths(*(Path("/nowhere", name) for name in ("config.toml", "id", "known_hosts", "state", "log")))
PATIENCE = 5.0
NOW = datetime(2026, 11, 26, tzinfo=timezone.utc)
REASON = {"code": "auth_refused", "message": "no", "hint": "do"}
TUNNEL = {
    "name": "orders",
    "state": "connected",
    "since": "2026-11-22T10:00:00Z",
    "reason": None,
    "jumphost": "a.example.com:50683",
    "listen_port": 58115,
    "target": "localhost:3306",
    "attempts": 0,
    "reconnects": 1,
    "next_attempt_at": None,
    "rtt_ms": 12.5,
    "host_key": "SHA256:x",
    "down_since": None,
    "connections": {"open": 1, "total": 2, "refused": 0, "failed": 3},
    "bytes": {"from_target": 1, "to_target": 2},
    "target_state": {"state": "down", "since": "2026-11-22T10:00:00Z", "failed": 2, "reason": REASON},
    "security": {"kex": "curve25519-sha256", "cipher": "aes256-ctr", "mac": "hmac", "post_quantum": False},
    "warnings": [{"code": "x", "message": "y", "hint": "z"}],
}
HELD = {**TUNNEL, "name": "b", "state": "held", "reason": REASON, "next_attempt_at": "2026-11-22T10:00:00Z"}
AGENT = {"running": True, "pid": 7, "version": "0.1.0", "started_at": "2026-11-22T10:00:00Z", "config": "/c"}
STATUS = {"schema": 1, "written_at": "2026-11-22T10:00:00Z", "agent": AGENT, "tunnels": [TUNNEL, HELD]}
FAULTS = [{"path": "a", "message": "b"}]
FAULT = {"error": {"code": "config_invalid", "message": "m", "hint": "h", "exit_code": 78, "faults": FAULTS}}
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
REQUESTS = (
    b"GET /v1/status HTTP/1.1\r\nHost: x\r\nIoconnect-Lock: 1:2\r\n\r\n",
    b"POST /v1/reload?a=b&a=c HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
    b'POST /v1/up HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 21\r\n\r\n{"names": ["orders"]}',
    b"GET /livez HTTP/1.1\r\nExpect: 100-continue\r\n\r\n",
)


class _Mailbox:
    """Answers every question at once, and refuses every change."""

    def put(self, message: Request) -> None:
        is_question = isinstance(message.command, GetSnapshot)
        message.reply(snapshots.from_json(STATUS) if is_question else AgentNotRunning("nothing is changed here"))


def _control_request(data: bytes) -> bool:
    connection = MemorySocket()
    connection.to_read += data
    connection.ended = True
    try:
        request = received(cast("socket.socket", connection), time.monotonic() + PATIENCE)
    except RequestRefused as refused:
        encoded(error(refused.status, refused.message))
        return False
    requests = Requests(cast("Any", _Mailbox()), PATHS, "1:2")
    encoded(requests.answer(request, Peer(os.geteuid(), 1)))
    return True


class _Agent(MemorySocket):
    """The agent's end of the control socket, which the kernel says is root's."""

    def getsockopt(self, _level: int, _name: int, size: int) -> bytes:
        return bytes(size)


def _control_answer(data: bytes) -> bool:
    connection = _Agent()
    connection.to_read += data
    connection.ended = True
    try:
        status, document = control._answer(cast("socket.socket", connection), b"", time.monotonic() + PATIENCE)
    except (OSError, control._OtherAgent, control._Busy):
        return False
    if status >= 400 and isinstance(document, dict):
        assert str(control._fault(document)), "a fault without a message"
    return isinstance(document, dict)


def _status_document(data: bytes) -> bool:
    try:
        snapshot = snapshots.from_json(json.loads(data))
    except (snapshots.StatusDamaged, ValueError, RecursionError):
        return False
    assert snapshots.from_json(json.loads(json.dumps(snapshots.to_json(snapshot)))) == snapshot, "written differently"
    tunnels = overview.worst_first(snapshot.tunnels)
    text = render.plain([*render.head(snapshot, NOW, 80), *render.body(tunnels, NOW, 80)])
    assert all(c.isprintable() or c == "\n" for c in text), "a control character is printed"
    return True


TARGETS = (
    Target(
        "control_request",
        _control_request,
        REQUESTS,
        (
            b"\r\n",
            b"\r\n\r\n",
            b"Content-Length: ",
            b"Transfer-Encoding: chunked",
            b"HTTP/1.1",
            b"//",
            b"?",
            b"%",
            b"Expect: ",
        ),
    ),
    Target(
        "control_answer",
        _control_answer,
        (
            ANSWER + json.dumps(STATUS).encode(),
            b"HTTP/1.1 500 x\r\n\r\n" + json.dumps(FAULT).encode(),
            b"HTTP/1.1 503 x\r\nRetry-After: 1\r\n\r\n{}",
        ),
        (b"HTTP/1.1 421 ", b"\r\nRetry-After: 1", b"\r\n\r\n", b"{", b"[", b'"error"', b"null", b"1e999"),
    ),
    Target(
        "status_document",
        _status_document,
        (json.dumps(STATUS).encode(),),
        (
            b'"reason"',
            b"null",
            b"-1",
            b"1e999",
            b"[",
            b"{",
            b'"state"',
            b"\\u001b",
            b"\\ud800",
            b"true",
            b"2026-11-22T10:00:00Z",
        ),
    ),
)
