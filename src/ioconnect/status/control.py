"""Asks the running agent over its control socket: one HTTP/1.1 request per connection, JSON in, JSON out.

The socket is asked first, and the lock only if nobody answers: a running agent's lock file may have been removed, or
be on a disk that hangs.
Written by hand: `http.client` imports TLS and a mail parser, which takes longer than all the rest of `status`.
"""

from __future__ import annotations

import contextlib
import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from ioconnect.config.json_fields import Fields, Malformed
from ioconnect.config.paths import is_same
from ioconnect.errors import (
    AgentNotRunning,
    AgentUnresponsive,
    ConfigFault,
    ConfigInvalid,
    ExitCode,
    Fault,
    ReasonCode,
    SystemRefused,
)
from ioconnect.status import disk, hints, lock
from ioconnect.status.control_folder import SocketRefused, connected
from ioconnect.status.peer_credentials import Peer, peer_of
from ioconnect.status.records import Silence

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ioconnect.config.paths import Paths

TIMEOUT = 2.0  # seconds, for a question; the agent answers within a few milliseconds
CHANGE_TIMEOUT = 15.0  # seconds, for a change: a tunnel takes up to 5 to stop, a locked identity some to open
RETRY_INTERVAL = 0.02  # seconds between attempts to connect to an agent that has just taken the lock
MAX_ANSWER = 16 << 20  # bytes
LOCK_HEADER = "Ioconnect-Lock"
MISDIRECTED, GATEWAY_TIMEOUT = 421, 504  # RFC 9110
_Answer: TypeAlias = tuple[int, object, Peer]  # status code, document, who answered
_Encoded: TypeAlias = "Callable[[str | None], bytes]"  # the request, to the agent of the lock with this identity
_UNFINISHED = "It goes on with it: see ioconnect status. Does the disk with the configuration and the keys hang?"


class AgentSilent(AgentUnresponsive):
    """The agent runs and does not answer: stopped, busy, without a usable socket. `peer` listens, by the kernel."""

    def __init__(self, pid: int | None, silence: Silence, peer: Peer | None = None) -> None:
        super().__init__("the agent" + (f" (pid {pid})" if pid else "") + f" {silence}", hint=silence.hint)
        self.pid, self.silence, self.peer = pid, silence, peer


class OtherConfiguration(Fault):
    """A command means another configuration than the agent's."""

    exit_code = ExitCode.CONFIG


class _OtherAgent(Exception):
    """The socket is that of an agent with another lock."""


class _NoAnswer(Exception):
    """Somebody listens and does not answer in time: `peer`, by the kernel, None if it does not tell."""

    def __init__(self, peer: Peer | None, silence: Silence | None = None) -> None:
        self.peer, self.pid = peer, peer.pid if peer is not None else None
        self.silence = silence or Silence.of_unproven(self.pid)


class _Busy(_NoAnswer):
    """The agent has too many other clients."""

    def __init__(self, peer: Peer | None, why: str) -> None:
        super().__init__(peer, Silence(why, "Try again in a moment."))


def request(
    paths: Paths, method: str, path: str, body: Mapping[str, object] | None = None, timeout: float = TIMEOUT
) -> dict[str, Any]:
    """Send one request to the agent that holds the lock of `paths`, and return its answer.

    Raises AgentNotRunning if the lock is free, AgentSilent if it is held and no answer comes within `timeout`
    seconds, SystemRefused if the lock cannot be read, and the Fault that the agent answered with.
    """
    return answered(paths, method, path, body, timeout)[0]


def answered(
    paths: Paths, method: str, path: str, body: Mapping[str, object] | None = None, timeout: float = TIMEOUT
) -> tuple[dict[str, Any], int]:
    """As `request`, and the uid of who answered, as the kernel knows it."""
    end = time.monotonic() + timeout
    status, document, peer = _exchange(paths, partial(_encoded, method, path, body), end)
    if status != GATEWAY_TIMEOUT and isinstance(document, dict):
        if status >= 400:  # noqa: PLR2004  RFC 9110: client and server errors
            raise _fault(document)
        return document, peer.uid
    pid = None
    with contextlib.suppress(Fault):  # the lock cannot be read
        pid = lock.holder(paths.lock)
    if status == GATEWAY_TIMEOUT and method == "POST":  # `change` has asked before whether the supervisor answers
        raise AgentSilent(pid, Silence("it has not done that in time", _UNFINISHED))
    why = "its supervisor is busy or hangs" if status == GATEWAY_TIMEOUT else "its answer is not understood"
    raise AgentSilent(pid, Silence.of_process(pid, why))


def change(paths: Paths, path: str, body: Mapping[str, object]) -> dict[str, Any]:
    """Have the agent change something, and return its answer; a frozen one is noticed first. Raises as `request`."""
    request(paths, "GET", "/livez")
    return request(paths, "POST", path, body, CHANGE_TIMEOUT)


def running_pid(paths: Paths) -> int | None:
    """Return the pid of the running agent, None if none runs, 0 if it is not known.

    Also of one whose lock file was removed or replaced, by its answer. Raises AgentSilent if the lock is free and
    somebody listens and does not answer, SystemRefused if the lock cannot be read and nobody answers.
    """
    try:
        pid = lock.holder(paths.lock)
    except SystemRefused:  # not ours, or what is there now is no lock
        with contextlib.suppress(AgentSilent):
            pid = answering_pid(paths)
            if pid is not None:
                return pid
        raise
    return answering_pid(paths) if pid is None else pid


def answering_pid(paths: Paths) -> int | None:
    """Return the pid of the agent that answers on a control socket of `paths`, whoever holds the lock.

    None if none does, 0 if it is not known. Raises AgentSilent, of who listens and does not answer.
    """
    peer = answering(paths)
    return None if peer is None else peer.pid or 0


def answering(paths: Paths) -> Peer | None:
    """As `answering_pid`, but the process as the kernel knows it."""
    try:
        answer, _ = _first_answer(paths, partial(_encoded, "GET", "/v1/status", None), time.monotonic() + TIMEOUT)
    except _NoAnswer as none:
        raise AgentSilent(none.pid, none.silence, none.peer) from None
    return None if answer is None else answer[2]


def check_config(body: Mapping[str, object], own: Path | str) -> None:
    """Raise OtherConfiguration if a request's body names another configuration than the agent's `own`."""
    meant = body.get("config")
    if meant is not None and not is_same(str(meant), own):
        message = f"the agent runs with {own}, not with {meant}: nothing was changed"
        raise OtherConfiguration(message, hint=hints.OTHER_CONFIG)


def _exchange(paths: Paths, encoded: _Encoded, end: float) -> _Answer:
    """Return the answer of the first of our agent's sockets that answers."""
    while True:
        try:
            answer, silence = _first_answer(paths, encoded, end)
        except _NoAnswer as none:
            raise _unanswered(paths, none) from None
        if answer is not None:
            return answer
        pid = lock.holder(paths.lock)
        if pid is None:
            raise AgentNotRunning("the agent is not running", hint=hints.sentence(hints.START))
        if time.monotonic() + RETRY_INTERVAL > end:
            raise AgentSilent(pid, silence)
        time.sleep(RETRY_INTERVAL)


def _first_answer(paths: Paths, encoded: _Encoded, end: float) -> tuple[_Answer | None, Silence]:
    """Return the answer of the first socket that answers, None if none does, and why.

    Raises _NoAnswer if somebody listens and does not answer in time; a busy agent is asked again until then.
    """
    busy: _Busy | None = None
    while True:
        try:
            return _ask_each(paths, encoded, end)
        except _Busy as again:
            busy = again
            if time.monotonic() + RETRY_INTERVAL > end:
                raise
        except _NoAnswer as none:  # for the last attempt little time is left
            raise busy or none from None
        time.sleep(RETRY_INTERVAL)


def _ask_each(paths: Paths, encoded: _Encoded, end: float) -> tuple[_Answer | None, Silence]:
    """As `_first_answer`, each socket once; an agent that does not know the lock is asked by its next identity."""
    silence = Silence.of_socket("it has no control socket", "")
    for path in paths.control:
        for identity in lock.identities(paths.lock):
            try:
                return _ask(path, encoded(identity), end), silence
            except _OtherAgent:
                continue
            except FileNotFoundError:
                pass
            except disk.DiskHangs as error:
                silence = Silence(f"its control socket {path}: {error.strerror}", disk.HINT)
            except OSError as error:
                silence = Silence.of_socket(f"its control socket {path}: {error.strerror or error}", "")
            except SocketRefused as fault:
                silence = Silence.of_socket(f"its control socket is refused: {fault.message}", fault.hint)
            break
    return None, silence


def _ask(path: Path, message: bytes, end: float) -> _Answer:
    """Return the answer at this socket. Raises _NoAnswer, _OtherAgent, _Busy, OSError, SocketRefused."""
    peer = None
    try:
        with disk.within_timeout(path, lambda: connected(path, end - time.monotonic())) as connection:
            peer = peer_of(connection)
            return (*_answer(connection, message, end), peer)
    except TimeoutError:
        raise _NoAnswer(peer) from None
    except BlockingIOError:  # of connect(2), unix(7): its backlog is full
        raise _Busy(None, "more clients wait than its backlog holds") from None


def _encoded(method: str, path: str, body: Mapping[str, object] | None, identity: str | None) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", f"Content-Length: {len(content)}"]
    if identity is not None:
        lines.append(f"{LOCK_HEADER}: {identity}")
    return "\r\n".join([*lines, "", ""]).encode() + content


def _answer(connection: socket.socket, message: bytes, end: float) -> tuple[int, object]:
    """Send the request and read to the end of the connection. Raises TimeoutError, _OtherAgent, _Busy, OSError."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before all was read: it has answered
        connection.sendall(message)
    received = bytearray()
    while len(received) <= MAX_ANSWER:
        remaining = end - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        connection.settimeout(remaining)
        try:
            data = connection.recv(1 << 18)
        except ConnectionResetError:  # after the answer, as above
            break
        if not data:
            break
        received += data
    head, _, content = bytes(received).partition(b"\r\n\r\n")
    try:
        status = int(head.split(None, 2)[1])
        document = json.loads(content)
    except (ValueError, IndexError, RecursionError):
        raise ConnectionAbortedError("it closed the connection without an answer") from None
    if status == MISDIRECTED:
        raise _OtherAgent
    if b"\r\nRetry-After:" in head:
        raise _Busy(peer_of(connection), "it has too many other clients")
    return status, document


def _unanswered(paths: Paths, none: _NoAnswer) -> AgentSilent:
    """Return that an agent runs and does not answer; it is the listener unless the lock says that."""
    try:
        holder = lock.holder(paths.lock)
    except SystemRefused as fault:
        return AgentSilent(none.pid, none.silence if isinstance(none, _Busy) else Silence(fault.message, fault.hint))
    if isinstance(none, _Busy):
        return AgentSilent(none.pid or holder, none.silence)
    if holder and none.pid in (None, holder):
        return AgentSilent(holder, Silence.of_process(holder))
    return AgentSilent(none.pid, none.silence)


def _fault(document: dict[str, Any]) -> Fault:
    """Return the fault in an error answer; one that is malformed says so."""
    try:
        error = Fields(document).inner("error")
        message = error.required("message", str) or "the agent refuses, and gives no reason"
        hint = error.optional("hint", str) or ""
        number, name = error.count("exit_code"), error.optional("code", str)
        faults = tuple(
            ConfigFault(each.required("path", str), each.required("message", str)) for each in error.each("faults")
        )
    except Malformed as malformed:
        return Fault(f"the agent's answer is damaged: {malformed}")
    fault = ConfigInvalid(message, hint=hint, faults=faults) if faults else Fault(message, hint=hint)
    fault.code = next((code for code in ReasonCode if code.value == name), None)
    fault.exit_code = ExitCode(number) if number in set(ExitCode) - {ExitCode.OK} else ExitCode.SOFTWARE
    return fault
