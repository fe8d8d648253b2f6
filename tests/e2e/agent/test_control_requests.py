"""Bad requests on the control socket of a real agent: each is refused with a word, and none changes anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.rigs import stub
from tests.rigs.agent_scene import AgentScene
from tests.rigs.control_client import ask, get, post
from tests.rigs.database import Database

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentScene]:
    """One that is up, for tests that change nothing."""
    folder = tmp_path_factory.mktemp("shared")
    with stub.running(folder / "stub") as rig, Database() as database:
        scene = AgentScene(folder / "home", rig, database)
        try:
            scene.customer.run("up", "--daemon")
            yield scene
        finally:
            scene.customer.close()


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (get("/"), 404),
        (get("/metrics"), 404),
        (post("/v1/drain"), 404),
        (get("/v1/status", method="POST"), 405),
        (get("/v1/status", method="DELETE"), 405),
        (get("/v1/status", method="BREW"), 405),
        (get("/v1/reload"), 405),
        (post("/v1/down", b"["), 400),
        (post("/v1/down", b"[]"), 400),
        (post("/v1/down", b'{"tunnels": "orders"}'), 400),
        (post("/v1/down", b'{"tunnels": [1]}'), 400),
        (post("/v1/down", b'{"tunnel": ["orders"]}'), 400),  # misspelt, which must not mean all
        (post("/v1/reload", b'{"tunnels": ["orders"]}'), 400),  # which would be all
        (post("/v1/reload", b'{"config": "\\u0000"}'), 422),
        (post("/v1/reload", b'{"config": "\\ud800"}'), 422),
        (post("/v1/down", b"\xff\xfe"), 400),
        (post("/v1/down", b"[" * 60_000), 400),
        (post("/v1/down", b'{"tunnels": ["nobody"]}'), 409),
        (post("/v1/reconnect", b'{"tunnels": ["nobody"]}'), 409),
        (post("/v1/up", b'{"tunnels": ["nobody"]}'), 400),
        (post("/v1/up", b'{"config": "/other.toml"}'), 422),
        (b"GET /v1/status HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET /v1/status HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET /v1/status HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12", 400),
        (b"POST /v1/up HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
        (b"GET /v1/status HTTP/9.1\r\n\r\n", 505),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET //[x/v1/status HTTP/1.1\r\n\r\n", 404),
        (get("/readyz?tunnel="), 404),  # no name, which must not mean all
        (b"POST /v1/down HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", 417),
        (get("/" + "a" * 70_000), 413),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000, 413),
        (post("/v1/reload", b"x" * 70_000), 413),
    ],
)
def test_a_bad_request_is_refused_and_changes_nothing(shared: AgentScene, message: bytes, status: int) -> None:
    code, headers, document = ask(shared.paths.control[0], message)

    assert code == status, document
    assert headers["connection"] == "close"
    assert document["error"]["message"]
    assert ask(shared.paths.control[0], get("/v1/status"))[2]["tunnels"][0]["state"] == "connected"
