"""A client of the control socket that sends what it likes."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def ask(path: Path, message: bytes, *, deadline: float = 5) -> tuple[int, dict[str, str], Any]:
    """Send bytes, and return status, headers and document of the answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(deadline)
        connection.connect(str(path))
        with contextlib.suppress(BrokenPipeError):  # refused before all of it was sent
            connection.sendall(message)
        return answer(connection)


def answer(connection: socket.socket) -> tuple[int, dict[str, str], Any]:
    """Read the answer to its end; one that was refused before it was read may be reset after it."""
    received = b""
    with contextlib.suppress(ConnectionResetError):  # one that was refused before it was read
        while data := connection.recv(65536):
            received += data
    head, _, content = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, json.loads(content)


def get(path: str, *, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def post(path: str, body: bytes = b"{}") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
