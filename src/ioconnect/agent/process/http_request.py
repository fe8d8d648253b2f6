"""Receives one HTTP/1.1 request within a deadline and a size, and encodes the answer.

The timeout of `http.server` is per read: a client that sends a byte a second would never exceed it. And it brings TLS
and HTML into a process that idles for a year: 2.7 MB. So a request is received as a whole here; its header fields are
parsed by `email`, as http.server has them parsed.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from email.parser import HeaderParser
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    import socket
    from email.message import Message

MAX_REQUEST = 64 << 10  # bytes, head and body
MAX_FIELDS = 100  # as http.client has it
END_OF_HEAD = b"\r\n\r\n"
_REQUEST_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\S+) HTTP/(\d)\.\d", re.ASCII)  # RFC 9112, section 3


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
    head: _Head | None = None
    begin = size = 0  # bytes: where the body begins, and of the whole request, once the head is there
    while head is None or len(data) < size:
        if max(len(data), size) > MAX_REQUEST:
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
        if head is None and (end_of_head := data.find(END_OF_HEAD)) >= 0:
            head = _head(bytes(data[:end_of_head]))
            begin = end_of_head + len(END_OF_HEAD)
            size = begin + _body_length(head.fields)
    return _request(head, bytes(data[begin:size]))


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


@dataclass(frozen=True, slots=True)
class _Head:
    method: str
    target: str
    fields: Message


def _body_length(fields: Message) -> int:
    """Return the length of the body in bytes. Raises RequestRefused."""
    if fields.get("Expect"):
        raise RequestRefused(HTTPStatus.EXPECTATION_FAILED, "no expectation is met: send the body at once")
    if fields.get("Transfer-Encoding"):
        raise RequestRefused(HTTPStatus.NOT_IMPLEMENTED, "no transfer encoding is understood: send Content-Length")
    lengths = set(fields.get_all("Content-Length", ["0"]))
    text = lengths.pop().strip(" \t")
    if lengths or not (text.isascii() and text.isdigit()) or len(text) > 10:  # noqa: PLR2004  digits
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "Content-Length is not a number")
    return int(text)


def _request(head: _Head, body: bytes) -> HttpRequest:
    try:
        target = urlsplit(head.target)
        query = {
            name: values[-1]
            for name, values in parse_qs(target.query, keep_blank_values=True, max_num_fields=100).items()
        }
    except ValueError:
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "the request's target is not a path") from None
    headers = {name.lower(): value for name, value in head.fields.items()}
    return HttpRequest(head.method, target.path, query, headers, body)


def _head(data: bytes) -> _Head:
    """Return the request line's method and target, and the header fields. Raises RequestRefused."""
    line, _, fields = data.decode("latin-1").partition("\r\n")
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "the request's first line is not: METHOD /path HTTP/1.1")
    method, target, version = found.groups()
    if version != "1":
        raise RequestRefused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "only HTTP/1.1 is spoken here")
    if fields.count("\n") >= MAX_FIELDS:
        raise RequestRefused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"there are more than {MAX_FIELDS} fields")
    # A path that begins with two slashes is no host, which urlsplit takes it for.
    target = "/" + target.lstrip("/") if target.startswith("//") else target
    return _Head(method, target, HeaderParser().parsestr(fields))
