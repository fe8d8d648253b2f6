"""Asks the running agent over its control socket: one HTTP/1.1 request per connection, JSON in, JSON out.

The socket is asked first, and the lock only if nobody answers: a running agent's lock file may have been removed.
Written by hand: `http.client` imports TLS and a mail parser, which takes longer than all the rest of `status`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from typing import TYPE_CHECKING, Any

from ioconnect.config.json_fields import Fields, Malformed
from ioconnect.config.paths import is_same
from ioconnect.errors import AgentNotRunning, ConfigFault, ConfigInvalid, ExitCode, Fault, ReasonCode, SystemRefused
from ioconnect.status import hints, lock
from ioconnect.status.control_folder import SocketRefused, address, check_trusted, opened
from ioconnect.status.peer_credentials import peer_of
from ioconnect.status.records import Silence

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ioconnect.config.paths import Paths

TIMEOUT = 2.0  # seconds, for a question; the agent answers within a few milliseconds
CHANGE_TIMEOUT = 15.0  # seconds, for a change: a tunnel takes up to 5 to stop, a locked identity some to open
RETRY_INTERVAL = 0.02  # seconds between attempts to connect to an agent that has just taken the lock
MAX_ANSWER = 16 << 20  # bytes
LOCK_HEADER = "Ioconnect-Lock"
MISDIRECTED, GATEWAY_TIMEOUT = 421, 504  # RFC 9110
_UNFINISHED = "It goes on with it: see ioconnect status. Does the disk with the configuration and the keys hang?"


class AgentSilent(Fault):
    """The agent runs and does not answer: it is stopped, hangs, is busy, or has no usable socket."""

    exit_code = ExitCode.UNAVAILABLE

    def __init__(self, pid: int | None, silence: Silence) -> None:
        super().__init__("the agent" + (f" (pid {pid})" if pid else "") + f" {silence}", hint=silence.hint)
        self.pid = pid
        self.silence = silence


class OtherConfiguration(Fault):
    """A command means another configuration than the agent's."""

    exit_code = ExitCode.CONFIG


class _OtherAgent(Exception):
    """The socket is that of an agent with another lock."""


class _Busy(Exception):
    """The agent has too many other clients."""


class _NoAnswer(Exception):
    """Somebody listens and does not answer in time; `pid` as the kernel tells it, None if it does not."""

    def __init__(self, pid: int | None) -> None:
        super().__init__()
        self.pid = pid


def request(
    paths: Paths, method: str, path: str, body: Mapping[str, object] | None = None, timeout: float = TIMEOUT
) -> dict[str, Any]:
    """Send one request to the agent that holds the lock of `paths`, and return its answer.

    Raises AgentNotRunning if the lock is free, AgentSilent if it is held and no answer comes within `timeout`
    seconds, SystemRefused if the lock cannot be read, and the Fault that the agent answered with.
    """
    end = time.monotonic() + timeout
    status, document = _exchange(paths, _encoded(paths, method, path, body), end)
    if status == GATEWAY_TIMEOUT and method == "POST":  # `change` has asked before whether the supervisor answers
        raise AgentSilent(_holder(paths), Silence("it has not done that in time", _UNFINISHED))
    if status == GATEWAY_TIMEOUT:
        raise _silent(paths, "its supervisor is busy or hangs")
    if not isinstance(document, dict):
        raise _silent(paths, "its answer is not understood")
    if status >= 400:  # noqa: PLR2004  RFC 9110: client and server errors
        raise _fault(document)
    return document


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

    None if none does, 0 if its answer has none. Raises AgentSilent if somebody listens and does not answer, with the
    listener's pid if the kernel tells it.
    """
    end = time.monotonic() + TIMEOUT
    while True:
        try:
            answer, _ = _first_answer(paths, _encoded(paths, "GET", "/v1/status", None), end)
        except _Busy as busy:
            if time.monotonic() + RETRY_INTERVAL > end:
                raise AgentSilent(None, _busy(busy)) from None
            time.sleep(RETRY_INTERVAL)
            continue
        except _NoAnswer as none:
            raise AgentSilent(none.pid, Silence.of_unproven(none.pid)) from None
        try:
            return None if answer is None else Fields(answer[1]).inner("agent").required("pid", int)
        except Malformed:  # a fault: its supervisor is busy or hangs
            return 0


def check_config(body: Mapping[str, object], own: Path | str) -> None:
    """Raise OtherConfiguration if a request's body names another configuration than the agent's `own`."""
    meant = body.get("config")
    if meant is not None and not is_same(str(meant), own):
        raise OtherConfiguration(
            f"the agent runs with {own}, not with {meant}: nothing was changed", hint=hints.OTHER_CONFIG
        )


def _exchange(paths: Paths, message: bytes, end: float) -> tuple[int, object]:
    """Return status code and document of the first of our agent's sockets that answers."""
    while True:
        try:
            answer, silence = _first_answer(paths, message, end)
        except _Busy as busy:
            answer, silence = None, _busy(busy)
        except _NoAnswer as none:
            holder = _holder(paths)
            if holder and none.pid in (None, holder):
                raise _silent(paths) from None
            raise AgentSilent(none.pid, Silence.of_unproven(none.pid)) from None
        if answer is not None:
            return answer
        pid = lock.holder(paths.lock)
        if pid is None:
            raise AgentNotRunning("the agent is not running", hint=hints.sentence(hints.START))
        if time.monotonic() + RETRY_INTERVAL > end:
            raise AgentSilent(pid, silence)
        time.sleep(RETRY_INTERVAL)


def _first_answer(paths: Paths, message: bytes, end: float) -> tuple[tuple[int, object] | None, Silence]:
    """Try each socket once; return status code and document of the first answer, or None; and why there is none.

    Raises _NoAnswer if somebody listens and does not answer in time, _Busy.
    """
    silence = Silence.of_socket("it has no control socket", "")
    for path in paths.control:
        listener = None
        try:
            with _connected(path, end) as connection:
                listener = peer_of(connection).pid
                return _answer(connection, message, end), silence
        except (FileNotFoundError, _OtherAgent):
            continue
        except TimeoutError:
            raise _NoAnswer(listener) from None
        except BlockingIOError:  # of connect(2), unix(7): its backlog is full
            raise _Busy("more clients wait than its backlog holds") from None
        except OSError as error:
            silence = Silence.of_socket(f"its control socket {path}: {error.strerror or error}", "")
        except SocketRefused as fault:
            silence = Silence.of_socket(f"its control socket is refused: {fault.message}", fault.hint)
    return None, silence


def _busy(busy: _Busy) -> Silence:
    return Silence(str(busy), "Try again in a moment.")


@contextlib.contextmanager
def _connected(path: Path, end: float) -> Iterator[socket.socket]:
    """Yield a connection to the socket, whose listener is who may own it. Raises OSError, SocketRefused."""
    with opened(path.parent) as folder, socket.socket(socket.AF_UNIX) as connection:
        owner = check_trusted(folder, path)
        connection.settimeout(max(0.001, end - time.monotonic()))
        with address(folder, path) as name:
            connection.connect(name)
        uid = peer_of(connection).uid
        if uid not in (0, os.geteuid(), owner):
            raise SocketRefused(f"a process of another user (uid {uid}) listens on {path}")
        yield connection


def _encoded(paths: Paths, method: str, path: str, body: Mapping[str, object] | None) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", f"Content-Length: {len(content)}"]
    with contextlib.suppress(OSError):  # who may not examine it means the agent of this socket
        lines.append(f"{LOCK_HEADER}: {lock_identity(paths.lock)}")
    return "\r\n".join([*lines, "", ""]).encode() + content


def lock_identity(path: Path) -> str:
    """Return what tells this lock file from others: an agent answers no client that means another.

    It is the file's inode, or its path if there is no such file. Raises OSError if that cannot be said.
    """
    try:
        facts = path.stat()
    except FileNotFoundError:
        return lock_name(path)
    return f"{facts.st_dev}:{facts.st_ino}"


def lock_name(path: Path) -> str:
    """Return the path of a lock file without links, as the value of a header."""
    return os.fsencode(os.path.realpath(path)).hex()


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
        raise _Busy("it has too many other clients")
    return status, document


def _silent(paths: Paths, why: str = "") -> AgentSilent:
    pid = _holder(paths)
    return AgentSilent(pid, Silence.of_process(pid, why))


def _holder(paths: Paths) -> int | None:
    """Return the pid of the lock's holder; None also if the lock cannot be read."""
    with contextlib.suppress(Fault):
        return lock.holder(paths.lock)
    return None


def _fault(document: dict[str, Any]) -> Fault:
    """Return the fault in an error answer; one that is malformed says so."""
    try:
        error = Fields(document).inner("error")
        message, hint = error.required("message", str), error.optional("hint", str) or ""
        number, name = error.required("exit_code", int), error.optional("code", str)
        faults = tuple(
            ConfigFault(each.required("path", str), each.required("message", str)) for each in error.each("faults")
        )
    except Malformed as malformed:
        return Fault(f"the agent's answer is damaged: {malformed}")
    known_codes = {code.value: code for code in ReasonCode}
    fault = ConfigInvalid(message, hint=hint, faults=faults) if faults else Fault(message, hint=hint)
    fault.code = known_codes.get(name or "")
    fault.exit_code = ExitCode(number) if number in set(ExitCode) - {ExitCode.OK} else ExitCode.SOFTWARE
    return fault
