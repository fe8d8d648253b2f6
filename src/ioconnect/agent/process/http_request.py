"""Receives one HTTP/1.1 request within a deadline and a size, and encodes the answer; `http.server` parses it.

http.server's own timeout is per read: a client that sends a byte a second would never exceed it. So the request is
received first, as a whole, and then parsed.
"""

from __future__ import annotations

import io
import json
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    import socket

MAX_REQUEST = 64 << 10  # bytes, head and body
END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A parsed request; `headers` have small letters, of a query the last value of each name counts."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """The status code and the JSON document of an answer."""

    status: int
    document: object
    headers: dict[str, str] = field(default_factory=dict)


class RequestRefused(Exception):
    """The request cannot be answered but with this status code."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def received(connection: socket.socket, end: float) -> HttpRequest:
    """Return the request that the client sends. Raises RequestRefused, OSError."""
    data = bytearray()
    length: int | None = None
    while length is None or len(data) < length:
        if len(data) > MAX_REQUEST or (length or 0) > MAX_REQUEST:
            raise RequestRefused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request has at most {MAX_REQUEST} bytes")
        remaining = end - time.monotonic()
        if remaining <= 0:
            raise RequestRefused(HTTPStatus.REQUEST_TIMEOUT, "the request took too long")
        connection.settimeout(remaining)
        try:
            more = connection.recv(MAX_REQUEST + 1)
        except TimeoutError:
            continue
        if not more:
            raise RequestRefused(HTTPStatus.BAD_REQUEST, "the request is not complete")
        data += more
        if length is None:  # the head is parsed once, however slowly the body comes
            length = _length(data)
    return _parsed(bytes(data))


def encoded(answer: Answer) -> bytes:
    """Return the answer as it is sent; the connection is closed after it."""
    content = json.dumps(answer.document).encode() + b"\n"
    phrase = HTTPStatus(answer.status).phrase
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
        "Cache-Control": "no-store",
        "Connection": "close",
        **answer.headers,
    }
    lines = [f"HTTP/1.1 {answer.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + content


def _length(data: bytearray) -> int | None:
    """Return the length of the whole request; None while its head is not complete. Raises RequestRefused."""
    end = data.find(END_OF_HEAD)
    if end < 0:
        return None
    handler = _parse(bytes(data[: end + len(END_OF_HEAD)]))
    if handler.headers.get("Expect"):
        raise RequestRefused(HTTPStatus.EXPECTATION_FAILED, "no expectation is met: send the body at once")
    if handler.headers.get("Transfer-Encoding"):
        raise RequestRefused(HTTPStatus.NOT_IMPLEMENTED, "no transfer encoding is understood: send Content-Length")
    lengths = set(handler.headers.get_all("Content-Length", ["0"]))
    text = lengths.pop().strip(" \t")
    if lengths or not (text.isascii() and text.isdigit()) or len(text) > 10:  # noqa: PLR2004  digits
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "Content-Length is not a number")
    return end + len(END_OF_HEAD) + int(text)


def _parsed(data: bytes) -> HttpRequest:
    head, _, body = data.partition(END_OF_HEAD)
    handler = _parse(head + END_OF_HEAD)
    try:
        target = urlsplit(handler.path)
        query = {
            name: values[-1]
            for name, values in parse_qs(target.query, keep_blank_values=True, max_num_fields=100).items()
        }
    except ValueError:
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "the request's target is not a path") from None
    headers = {name.lower(): value for name, value in handler.headers.items()}
    length = int(headers.get("content-length", "0"))
    return HttpRequest(handler.command, target.path, query, headers, body[:length])


def _parse(head: bytes) -> _Parser:
    parser = _Parser(head)
    if parser.refused is not None:
        raise parser.refused
    return parser


class _Parser(BaseHTTPRequestHandler):
    """Parses the head of a request; has no connection."""

    def __init__(self, head: bytes) -> None:
        self.refused: RequestRefused | None = None
        self.rfile = io.BufferedReader(io.BytesIO(head))
        self.wfile = io.BytesIO()
        self.raw_requestline = self.rfile.readline(MAX_REQUEST + 1)
        if not self.parse_request() and self.refused is None:
            self.refused = RequestRefused(HTTPStatus.BAD_REQUEST, "the request is empty")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Take note of the fault that `parse_request` found."""
        self.refused = RequestRefused(code, message or explain or HTTPStatus(code).phrase)

    def handle_expect_100(self) -> bool:
        """Go on: the head is examined first."""
        return True
