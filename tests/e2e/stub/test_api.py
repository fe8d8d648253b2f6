"""The stand-in's API over real HTTP: registration, the three checks, faults, and what it refuses."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from tests.rigs import database, processes
from tests.rigs import stub as stubs

from ioconnect.config.addresses import HostPort
from ioconnect.errors import ConfigInvalid, IdentityUnreadable, SystemRefused, UsageFault
from ioconnect.stub import Stub

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Caller:
    """Speaks to the API of a rig's stub with its token."""

    rig: stubs.StubRig

    def ask(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Return status and parsed answer; bytes are sent as they are, anything else as JSON."""
        connection = http.client.HTTPConnection(self.rig.stub.url.removeprefix("http://"), timeout=20)
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        try:
            given = {"Authorization": f"Bearer {self.rig.stub.token}"} if headers is None else headers
            connection.request(method, path, content, given)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def register(self, name: str = "orders", key: str | None = None) -> tuple[int, Any]:
        """Register a tunnel, with the rig's key unless another is given."""
        return self.ask("POST", "/v1/tunnels", {"name": name, "public_key": key or self.rig.public.line})

    def checks(self, name: str = "orders") -> dict[str, bool]:
        """Return the verdict of each check."""
        status, answer = self.ask("POST", f"/v1/tunnels/{name}/test")
        assert status == 200
        return {check["name"]: check["ok"] for check in answer["checks"]}

    def fault(self, name: str, /, **arguments: object) -> Any:
        """Make something go wrong; return counters."""
        status, answer = self.ask("POST", f"/v1/stub/{name}", arguments)
        assert status == 200, answer
        return answer


@pytest.fixture
def api(rig: stubs.StubRig) -> Caller:
    """Its API."""
    return Caller(rig)


def test_a_registered_key_gets_a_port(rig: stubs.StubRig, api: Caller) -> None:
    """The answer is all that a client needs; the port works for this key."""
    status, answer = api.register()

    host, _, port = answer["endpoint"].rpartition(":")
    assert (status, host) == (201, "127.0.0.1")
    assert answer == {
        "name": "orders",
        "endpoint": f"127.0.0.1:{port}",
        "ssh_port": rig.port,
        "ssh_user": "sshtunnel",
        "host_keys": [rig.host_key_line],
    }
    with stubs.signed_in(rig) as client:
        assert client.request_port_forward("localhost", int(port)) == int(port)
        assert api.ask("GET", "/v1/tunnels/orders")[1]["state"] == "active"
    rig.wait_for(lambda: not rig.jumphost.listens_on(int(port)))
    assert api.ask("GET", "/v1/tunnels/orders") == (
        200,
        {"name": "orders", "endpoint": answer["endpoint"], "state": "inactive"},
    )


def test_registering_again_is_the_same_registration(api: Caller) -> None:
    """With a comment on the key or without."""
    first = api.register()

    assert api.register(key=f"{api.rig.public.line} me@here") == first


def test_every_name_gets_a_port_of_its_own(api: Caller) -> None:
    assert len({api.register(f"tunnel-{number}")[1]["endpoint"] for number in range(20)}) == 20


def test_a_name_belongs_to_its_key(api: Caller, tmp_path: Path) -> None:
    api.register()

    status, answer = api.register(key=stubs.make_key(tmp_path / "other").line)

    assert (status, answer) == (409, {"error": "orders is registered with another key"})


RSA = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAQQC7"


@pytest.mark.parametrize(
    "body",
    [
        {"name": "orders", "public_key": RSA},
        {"name": "orders", "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA=="},
        {"name": "orders", "public_key": "ssh-ed25519"},
        {"name": "orders", "public_key": ""},
        {"name": "orders", "public_key": 7},
        {"name": "orders"},
        {"name": "../orders", "public_key": "KEY"},
        {"name": "", "public_key": "KEY"},
        {"name": "x" * 64, "public_key": "KEY"},
        {"public_key": "KEY"},
        [],
        "text",
    ],
)
def test_what_is_no_registration_is_not_processed(api: Caller, body: Any) -> None:
    if isinstance(body, dict) and body.get("public_key") == "KEY":
        body["public_key"] = api.rig.public.line

    status, answer = api.ask("POST", "/v1/tunnels", body)

    assert status == 422
    assert answer["error"]
    assert api.rig.stub.registry.all() == []


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "expected"),
    [
        ("GET", "/v1/tunnels/nobody", None, {}, 404),
        ("POST", "/v1/tunnels/nobody/test", None, {}, 404),
        ("GET", "/", None, {}, 404),
        ("GET", "/v2/tunnels", None, {}, 404),
        ("GET", "/v1/tunnels", None, {}, 405),
        ("DELETE", "/v1/tunnels/orders", None, {}, 405),
        ("POST", "/v1/tunnels", b"{", {}, 400),
        ("POST", "/v1/tunnels", b"\xff\xfe", {}, 400),
        ("POST", "/v1/tunnels", b"[" * 15_000, {}, 400),
        ("POST", "/v1/tunnels", b" " * 16_385, {}, 413),
        ("POST", "/v1/tunnels", b"", {"Content-Length": "9" * 5000}, 413),
        ("POST", "/v1/tunnels", b"", {"Content-Length": "-1"}, 400),
        ("POST", "/v1/tunnels", b"", {"Transfer-Encoding": "chunked"}, 411),
        ("POST", "/v1/stub/earthquake", None, {}, 404),
        ("POST", "/v1/stub/hold-port", b"{}", {}, 422),
        ("POST", "/v1/stub/hold-port", b'{"port": 65536}', {}, 422),
        ("POST", "/v1/stub/hold-port", b'{"port": true}', {}, 422),
        ("POST", "/v1/stub/refuse-forward", b'{"why": "moody"}', {}, 422),
        ("POST", "/v1/stub/revoke", b'{"name": "nobody"}', {}, 404),
        ("POST", "/v1/stub/revoke", b'{"public_key": "x"}', {}, 422),
        ("POST", "/v1/stub/turn-away", b'{"line": "' + b"x" * 300 + b'"}', {}, 422),
    ],
)
def test_requests_that_make_no_sense(  # noqa: PLR0917  a row of the table
    api: Caller, method: str, path: str, body: Any, headers: dict[str, str], expected: int
) -> None:
    status, answer = api.ask(method, path, body, {"Authorization": f"bearer {api.rig.stub.token}", **headers})

    assert status == expected
    assert list(answer) == ["error"]


@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer wrong", "Basic {}", "{}", "Bearer {}x", "Bearer \xff"])
def test_without_the_token_nothing_is_told(api: Caller, given: str | None) -> None:
    headers = {} if given is None else {"Authorization": given.format(api.rig.stub.token)}
    for method, path in (("POST", "/v1/tunnels"), ("GET", "/v1/stub"), ("POST", "/v1/stub/drop"), ("GET", "/x")):
        assert api.ask(method, path, None, headers) == (401, {"error": "the bearer token is missing or wrong"})


def test_the_three_checks(api: Caller) -> None:
    """Nothing up; up with the database down; all well; key revoked."""
    port = int(api.register()[1]["endpoint"].rpartition(":")[2])
    names = ("Tunnel configuration", "Tunnel is open", "Connect to user tunnel")
    assert api.checks() == dict(zip(names, (True, False, False), strict=True))

    target = processes.free_port()
    with stubs.signed_in(api.rig) as client:
        client.request_port_forward("localhost", port, lambda channel, *_: channel.close())
        assert api.checks() == dict(zip(names, (True, True, False), strict=True))
    api.rig.wait_for(lambda: not api.rig.jumphost.listens_on(port))

    with stubs.openssh(api.rig, target) as tunnel:
        key = tunnel.key.with_name(tunnel.key.name + ".pub").read_text()
        second = int(api.register("second", key)[1]["endpoint"].rpartition(":")[2])
        tunnel.stop()
        tunnel.port = second
        tunnel.start()
        assert api.checks("second") == dict(zip(names, (True, True, False), strict=True))
        with database.Database(target):
            assert api.checks("second") == dict(zip(names, (True, True, True), strict=True))
        api.fault("revoke", name="second")
        assert api.checks("second")["Tunnel configuration"] is False


def test_faults_from_another_process(api: Caller) -> None:
    """Each fault has its path; the answer is what the jumphost has seen."""
    rig = api.rig
    api.register()
    with stubs.signed_in(rig):
        assert api.fault("rekey")["counters"]["rekeys"] == 1
        for name in ("freeze", "thaw", "swap-host-key"):
            api.fault(name)
        assert api.fault("drop")["counters"]["sessions"] == 0
    assert rig.jumphost.host_key.public.line == rig.host_key_line
    api.fault("restore-host-key")
    api.fault("refuse-forward", why="busy")
    assert rig.jumphost.forwards_refused == "busy"
    api.fault("allow-forward")
    api.fault("hold-port", port=rig.listen_port)
    assert rig.jumphost.is_held(rig.listen_port)
    api.fault("free-port", port=rig.listen_port)
    for body in ({"name": "orders"}, {"public_key": rig.public.line}):
        api.fault("revoke", **body)
        assert rig.public.blob in rig.jumphost.revoked
        api.fault("restore", **body)
        assert rig.public.blob not in rig.jumphost.revoked
    with stubs.signed_in(rig):
        api.fault("disconnect", reason="for now")
        assert rig.jumphost.sessions() == []
    api.fault("turn-away", line="Not allowed at this time\r\n")
    assert processes.first_bytes(rig.port) == b"Not allowed at this time\r\n"
    api.fault("banner-silence")
    with socket.create_connection((rig.host, rig.port), timeout=10) as visitor:
        rig.wait_for(lambda: rig.ledger.counters.connections == 4)
        api.fault("welcome")
        assert visitor.recv(1) == b""
    assert api.ask("GET", "/v1/stub")[1]["violations"] == []


def test_a_client_that_dawdles_does_not_hold_up_the_end(rig: stubs.StubRig) -> None:
    host, _, port = rig.stub.url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as dawdler:
        dawdler.sendall(b"POST /v1/tunnels HTTP/1.1\r\n")
        rig.stub.stop()

        with contextlib.suppress(ConnectionResetError):  # what it said was not read
            assert dawdler.recv(1) == b""


def test_the_api_keeps_to_loopback() -> None:
    with pytest.raises(UsageFault, match="loopback"):
        Stub(api=HostPort("0.0.0.0", 0))


def test_an_api_that_cannot_listen_leaves_no_jumphost(rig: stubs.StubRig) -> None:
    stub = Stub(HostPort("127.0.0.1", processes.free_port()), HostPort("127.0.0.1", rig.port))
    with pytest.raises(SystemRefused, match="in use"):
        stub.start()

    with pytest.raises(AssertionError, match="not started"):
        _ = stub.jumphost.address


# its home


def test_a_stub_with_a_home_is_the_same_again(tmp_path: Path) -> None:
    """Host key, token, tunnels; all of it for the owner's eyes only."""
    home = tmp_path / "home"
    with stubs.running(tmp_path / "first", home=home) as rig:
        before = rig.host_key_line, rig.stub.token, Caller(rig).register()[1]["endpoint"]
        public = rig.public
    with stubs.running(tmp_path / "second", home=home) as rig:
        after = rig.host_key_line, rig.stub.token, Caller(rig).register(key=public.line)[1]["endpoint"]
        assert rig.jumphost.grant_for("sshtunnel", public.blob) is not None

    assert before == after
    assert home.stat().st_mode & 0o777 == 0o700
    assert {file.name: file.stat().st_mode & 0o777 for file in home.iterdir()} == {
        "host_key": 0o600,
        "token": 0o600,
        "tunnels.json": 0o600,
    }


def test_a_key_pasted_into_authorized_keys_counts_at_the_next_sign_in(tmp_path: Path) -> None:
    with stubs.running(tmp_path / "stub", home=tmp_path / "home") as rig, database.Database() as db:
        guest = stubs.make_key(tmp_path / "guest")
        assert rig.jumphost.grant_for("sshtunnel", guest.blob) is None
        file = tmp_path / "home" / "authorized_keys"
        file.write_text(f'nonsense\nrestrict,port-forwarding,permitlisten="localhost:4711" {guest.line} me@here\n')
        grant = rig.jumphost.grant_for("sshtunnel", guest.blob)
        assert grant is not None
        assert grant.ports == {4711}
        file.write_text("")
        assert rig.jumphost.grant_for("sshtunnel", guest.blob) is None

        file.write_text(f"{rig.public.line}\n{guest.line}\n")
        with stubs.openssh(rig, db.port) as tunnel:
            assert database.pull(tunnel.port, 1000)[0] == 1000
        file.unlink()
        file.mkdir()
        assert rig.jumphost.grant_for("sshtunnel", guest.blob) is None


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("host_key", b"", IdentityUnreadable),
        (
            "host_key",
            b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
            IdentityUnreadable,
        ),
        ("token", b"\n", ConfigInvalid),
        ("token", b"\xff", ConfigInvalid),
        ("tunnels.json", b"", ConfigInvalid),
        ("tunnels.json", b"[]", ConfigInvalid),
        ("tunnels.json", b'{"schema": 2, "tunnels": []}', ConfigInvalid),
        ("tunnels.json", b'{"schema": 1, "tunnels": [{"name": "x", "public_key": "y", "port": 1}]}', ConfigInvalid),
    ],
)
def test_a_damaged_home_is_named(tmp_path: Path, name: str, content: bytes, fault: type[Exception]) -> None:
    """And left as it is."""
    (tmp_path / name).write_bytes(content)

    with pytest.raises(fault, match=name):
        Stub(home=tmp_path)

    assert (tmp_path / name).read_bytes() == content
