"""The stub's API and registry, and the demo's database."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from tests.fuzz.target import Target

from ioconnect.demo import database
from ioconnect.errors import ConfigInvalid
from ioconnect.stub import api, registry
from ioconnect.stub.jumphost import Jumphost
from ioconnect.stub.routes import Routes

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
TOKEN = b"token"
HEAD = b"POST /v1/%s HTTP/1.1\r\nAuthorization: Bearer token\r\nContent-Length: %d\r\n\r\n%s"
REGISTER = json.dumps({"name": "orders", "public_key": KEY}).encode()
ROWS = {"schema": 1, "tunnels": [{"name": "orders", "public_key": KEY, "port": 58115}]}
MAX_ROWS = 1 << 20  # bytes that the demo's database is asked for


class _ApiRequest(api._Request):
    """One that reads from memory."""

    def setup(self) -> None:
        self.rfile, self.wfile = io.BufferedReader(io.BytesIO(self.request.said)), io.BytesIO()
        self.connection = self.request

    def finish(self) -> None:
        self.server.statuses.append(self.wfile.getvalue().split(b" ", 2)[1:2])  # type: ignore[attr-defined]


class _Jumphost(Jumphost):
    """One that is reached by nobody, with faults that are only noted: ports and sessions are this machine's."""

    def __init__(self) -> None:
        super().__init__()
        self.faults = cast("Any", _Faults())

    @property
    def address(self) -> Any:
        return self._listen


class _Faults:
    def __getattr__(self, _name: str) -> Any:
        return lambda *_arguments: None


_JUMPHOST = _Jumphost()


def _stub_api(data: bytes) -> bool:
    routes = Routes(_JUMPHOST, registry.Registry())
    server: Any = SimpleNamespace(routes=routes, token=TOKEN, statuses=[])
    connection: Any = SimpleNamespace(said=data, getsockname=lambda: ("127.0.0.1", 1))
    _ApiRequest(connection, ("127.0.0.1", 2), server)
    return [b"201"] in server.statuses or [b"200"] in server.statuses


def _stub_registry(data: bytes) -> bool:
    with tempfile.NamedTemporaryFile(prefix="ioconnect-fuzz-") as file:
        file.write(data)
        file.flush()
        try:
            return bool(registry.Registry(Path(file.name)).all())
        except ConfigInvalid:
            return False


class _DemoRequest(database._Request):
    def setup(self) -> None:
        self.rfile, self.wfile = io.BytesIO(self.request), _Written()

    def finish(self) -> None:
        self.server.append(self.wfile.count)  # type: ignore[attr-defined]


class _Written:
    """Counts, and hangs up on somebody who wants too much, as a client does that has enough."""

    def __init__(self) -> None:
        self.count = 0

    def write(self, data: bytes) -> None:
        self.count += len(data)
        if self.count > MAX_ROWS:
            raise ConnectionResetError


def _demo_database(data: bytes) -> bool:
    written: Any = []
    try:
        _DemoRequest(cast("Any", data), ("127.0.0.1", 2), written)
    except ConnectionResetError:
        return True
    return any(written)


TARGETS = (
    Target(
        "stub_api",
        _stub_api,
        (
            HEAD % (b"tunnels", len(REGISTER), REGISTER),
            HEAD % (b"stub/freeze", 2, b"{}"),
            HEAD % (b"stub/hold-port", 15, b'{"port": 58115}'),
            b"GET /v1/stub HTTP/1.0\r\nAuthorization: bearer token\r\n\r\n",
            b"GET /v1/tunnels/x HTTP/1.1\r\nAuthorization: Bearer token\r\nConnection: close\r\n\r\n",
        ),
        (
            b"\r\n",
            b"/v1/tunnels/",
            b"/test",
            b"/v1/stub/",
            b"revoke",
            b"turn-away",
            b"Transfer-Encoding: x",
            b"%2f",
            b"Expect: ",
        ),
    ),
    Target(
        "stub_registry",
        _stub_registry,
        (json.dumps(ROWS).encode(),),
        (b"[", b"{", b"null", b"1e999", b"ssh-ed25519 "),
    ),
    Target(
        "demo_database",
        _demo_database,
        (b"ping\n", b"rows 1000\n", b"rows 0\n"),
        (b"rows ", b"-", b"\xc2\xb2", b"9" * 30),
    ),
)
