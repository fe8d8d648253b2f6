"""`register --api`: against the stand-in's API, and against servers and proxies that do what they should not."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from tests.rigs import proxies, stub
from tests.rigs.customer import Customer
from tests.rigs.stub import make_key

from ioconnect.config import configuration
from ioconnect.config.addresses import HostPort
from ioconnect.config.configuration import Tunnel
from ioconnect.errors import Unreachable
from ioconnect.keys import known_hosts, passphrases, public_keys
from ioconnect.registration import api_token, client

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from pathlib import Path

TOKEN = "tok-EN.1234=="
RING = """
import os
from keyring.backend import KeyringBackend

class Ring(KeyringBackend):
    priority = 5
    def set_password(self, service, username, password):
        raise AssertionError("nothing is to be kept")
    def get_password(self, service, username):
        return os.environ["KEPT"] if (service, username) == ("ioconnect", os.environ["KEPT_FOR"]) else None
"""


@pytest.fixture
def customer(tmp_path: Path) -> Iterator[Customer]:
    machine = Customer(tmp_path / "home", PYTHON_KEYRING_BACKEND="keyring.backends.fail.Keyring")
    yield machine
    machine.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[stub.StubRig]:
    with stub.running(tmp_path / "stub", token=TOKEN) as rig:
        yield rig


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return path


def good(**changes: object) -> dict[str, Any]:
    """Return an answer as the contract has it, with changes; None leaves a field out."""
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0 " + bytes(32)
    answer = {
        "name": "orders",
        "endpoint": "jump.example.com:58115",
        "ssh_port": 50683,
        "ssh_user": "sshtunnel",
        "host_keys": [public_keys.encode(blob)],
        **changes,
    }
    return {name: value for name, value in answer.items() if value is not None}


def http(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@contextlib.contextmanager
def answering(
    content: bytes, wrap: Callable[[proxies.Script], proxies.Script] = lambda script: script
) -> Iterator[Any]:
    """Run a server that gives this answer to every request; it keeps the requests' heads in `heads`."""

    def script(connection: socket.socket) -> None:
        server.heads.append(proxies.read_head(connection))  # type: ignore[attr-defined]
        connection.sendall(content)
        proxies.until_closed(connection)

    server = proxies.Scripted(wrap(script))
    server.heads = []  # type: ignore[attr-defined]
    try:
        yield server
    finally:
        server.stop()


def register(customer: Customer, api: str, token_file: Path, *more: str, to: str = "db:3306") -> Any:
    return customer.try_run("register", "orders", "--api", api, "--token-file", str(token_file), "--to", to, *more)


def nothing_saved(customer: Customer) -> bool:
    return not {"config.toml", "known_hosts"} & {entry.name for entry in customer.home.iterdir()}


def test_registered_pinned_and_saved(customer: Customer, rig: stub.StubRig, token_file: Path) -> None:
    done = register(customer, rig.stub.url, token_file)

    assert (done.returncode, done.stdout) == (0, "orders\n")
    (tunnel,) = configuration.load(customer.home / "config.toml").tunnels
    expected = HostPort("127.0.0.1", tunnel.listen_port)
    assert tunnel == Tunnel("orders", expected, HostPort("db", 3306), ssh_port=rig.port, ssh_user=rig.user)
    assert (customer.home / "known_hosts").read_text() == rig.known_hosts_line + "\n"
    assert rig.fingerprint in done.stderr
    assert TOKEN not in done.stderr


def test_the_tunnel_comes_up(customer: Customer, rig: stub.StubRig, token_file: Path) -> None:
    """Nothing else is needed."""
    register(customer, rig.stub.url, token_file, to="127.0.0.1:9")

    customer.run("up", "--daemon")

    assert customer.tunnel("orders")["state"] == "connected"


def test_the_same_again_changes_nothing(customer: Customer, rig: stub.StubRig, token_file: Path) -> None:
    register(customer, rig.stub.url, token_file)
    before = {path: path.read_bytes() for path in customer.home.iterdir() if path.is_file()}

    again = register(customer, rig.stub.url + "/v1/tunnels/", token_file)

    assert (again.returncode, again.stdout) == (0, "orders\n")
    assert "registered like this already" in again.stderr
    assert {path: path.read_bytes() for path in customer.home.iterdir() if path.is_file()} == before


def test_another_database_wants_force(customer: Customer, rig: stub.StubRig, token_file: Path) -> None:
    register(customer, rig.stub.url, token_file)

    refused = register(customer, rig.stub.url, token_file, to="db:1")
    forced = register(customer, rig.stub.url, token_file, "--force", to="db:1")

    assert (refused.returncode, forced.returncode) == (64, 0)
    assert "--force" in refused.stderr
    assert [str(tunnel.target) for tunnel in configuration.load(customer.home / "config.toml").tunnels] == ["db:1"]


def test_a_name_that_has_another_key_is_said(customer: Customer, rig: stub.StubRig, token_file: Path) -> None:
    register(customer, rig.stub.url, token_file)
    customer.run("keygen", "--force")
    (customer.home / "config.toml").unlink()

    done = register(customer, rig.stub.url, token_file)

    assert done.returncode == 64
    assert "with another key: 409" in done.stderr


def test_a_wrong_token_is_said(customer: Customer, rig: stub.StubRig, token_file: Path) -> None:
    token_file.write_text("wrong")

    done = register(customer, rig.stub.url, token_file)

    assert done.returncode == 77
    assert "does not accept the token: 401" in done.stderr
    assert nothing_saved(customer)


def test_a_pin_that_the_api_contradicts_stays(
    customer: Customer, rig: stub.StubRig, token_file: Path, tmp_path: Path
) -> None:
    pinned = make_key(tmp_path / "other-host")
    known_hosts.pin(customer.home / "known_hosts", rig.host, rig.port, [pinned.blob])

    refused = register(customer, rig.stub.url, token_file)

    assert refused.returncode == 76
    assert pinned.fingerprint in refused.stderr
    assert rig.fingerprint in refused.stderr
    assert not (customer.home / "config.toml").exists()
    assert known_hosts.load(customer.home / "known_hosts").blobs_for(rig.host, rig.port) == (pinned.blob,)

    assert register(customer, rig.stub.url, token_file, "--force").returncode == 0
    assert known_hosts.load(customer.home / "known_hosts").fingerprints_for(rig.host, rig.port) == (rig.fingerprint,)


def test_a_set_that_merely_overlaps_with_the_pins_is_refused(
    customer: Customer, token_file: Path, tmp_path: Path
) -> None:
    """The right key beside one more vouches for none of them."""
    pinned, more = make_key(tmp_path / "one"), make_key(tmp_path / "two")
    file = customer.home / "known_hosts"
    known_hosts.pin(file, "jump.example.com", 50683, [pinned.blob])
    before = file.read_bytes()
    body = json.dumps(good(host_keys=[pinned.line, more.line])).encode()
    with answering(http("201 Created", body)) as server:
        refused = register(customer, f"http://127.0.0.1:{server.port}", token_file)

    assert refused.returncode == 76
    assert more.fingerprint in refused.stderr
    assert file.read_bytes() == before
    assert not (customer.home / "config.toml").exists()


def test_the_apis_keys_are_not_taken_where_the_jumphost_is_known(
    customer: Customer, token_file: Path, tmp_path: Path
) -> None:
    """By a line that is no usable pin, which was replaced."""
    before = f"[jump.example.com]:50683 {make_key(tmp_path / 'one').line}"[:90] + "\n"
    customer.home.mkdir(exist_ok=True)
    (customer.home / "known_hosts").write_text(before)
    body = json.dumps(good(host_keys=[make_key(tmp_path / "two").line])).encode()
    with answering(http("201 Created", body)) as server:
        refused = register(customer, f"http://127.0.0.1:{server.port}", token_file)

    assert refused.returncode == 76
    assert "pinned: no usable key (line 1 of the pins says what was)" in refused.stderr
    assert (customer.home / "known_hosts").read_text() == before


def test_a_part_of_the_pins_is_no_contradiction(customer: Customer, token_file: Path, tmp_path: Path) -> None:
    pinned, more = make_key(tmp_path / "one"), make_key(tmp_path / "two")
    file = customer.home / "known_hosts"
    known_hosts.pin(file, "jump.example.com", 50683, [pinned.blob, more.blob])
    before = file.read_bytes()
    body = json.dumps(good(host_keys=[more.line])).encode()
    with answering(http("201 Created", body)) as server:
        assert register(customer, f"http://127.0.0.1:{server.port}", token_file).returncode == 0

    assert file.read_bytes() == before


def test_a_revoked_host_key_is_not_pinned(customer: Customer, rig: stub.StubRig, token_file: Path) -> None:
    (customer.home / "known_hosts").write_text(f"@revoked {rig.known_hosts_line}\n")

    done = register(customer, rig.stub.url, token_file, "--force")

    assert done.returncode == 76
    assert "revoked" in done.stderr


def test_the_token_from_the_environments_file(customer: Customer, rig: stub.StubRig, token_file: Path) -> None:
    customer.environment[api_token.VARIABLE] = str(token_file)

    assert customer.run("register", "--api", rig.stub.url, "--to", "db:1") == "default\n"


def test_the_token_from_the_keyring(customer: Customer, rig: stub.StubRig, tmp_path: Path) -> None:
    (tmp_path / "ring.py").write_text(RING)
    customer.environment |= {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PYTHON_KEYRING_BACKEND": "ring.Ring",
        "KEPT": TOKEN,
        "KEPT_FOR": rig.stub.url,
    }

    assert customer.run("register", "--api", rig.stub.url + "/", "--to", "db:1") == "default\n"

    customer.environment["KEPT_FOR"] = "https://elsewhere"
    done = customer.try_run("register", "--api", rig.stub.url, "--to", "db:1")
    assert done.returncode == 66
    assert f"keyring set {passphrases.SERVICE} {rig.stub.url}" in done.stderr


def test_no_token_at_all(customer: Customer, rig: stub.StubRig) -> None:
    done = customer.try_run("register", "--api", rig.stub.url, "--to", "db:1")

    assert done.returncode == 66
    assert "there is none on this machine" in done.stderr
    assert "--token-file" in done.stderr
    assert nothing_saved(customer)


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (b"secret\n", 0o644, "chmod 600"),
        (b"secret\n", 0o620, "chmod 600"),
        (b"", 0o600, "holds no token"),
        (b"sec ret", 0o600, "not one bearer token"),
        (b"secret\r\nX-Injected: 1", 0o600, "not one bearer token"),
        (b"secret\xff", 0o600, "not one bearer token"),
        (b"x" * 20000, 0o600, "larger than"),
        (None, 0o600, "No such file"),
    ],
)
def test_a_token_file_that_will_not_do(
    customer: Customer, token_file: Path, content: bytes | None, mode: int, said: str
) -> None:
    """Nobody is asked anything then; and it is never shown."""
    token_file.unlink()
    if content is not None:
        token_file.write_bytes(content)
        token_file.chmod(mode)

    done = register(customer, "http://127.0.0.1:9", token_file)

    assert done.returncode == 66
    assert said in done.stderr
    assert "secret" not in done.stderr
    assert not (customer.home / "id_ed25519").exists()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("api.example.com", "must be a URL"),
        ("ftp://api.example.com", "must be a URL"),
        ("https://", "the host is empty"),
        ("https://:443", "the host is empty"),
        ("https://a b/", "must be a URL"),
        ("https://api.example.com:port", "must be a URL"),
        ("https://api.example.com:0", "must be a URL"),
        ("https://api.example.com/?q=1", "must be a URL"),
        ("https://[::1", "must be a URL"),
        ("https://me:hush@api.example.com", "no user and password"),
        ("http://api.example.com", "unencrypted"),
        ("http://127.0.0.1.example.com", "unencrypted"),
        ("http://10.0.0.1", "unencrypted"),
        ("", "must be a URL"),
    ],
)
def test_a_url_that_will_not_do(customer: Customer, token_file: Path, url: str, said: str) -> None:
    done = register(customer, url, token_file)

    assert done.returncode == 64
    assert said in done.stderr
    assert "hush" not in done.stderr
    assert list(customer.home.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--token-file", "x", "--endpoint", "a:1", "--to", "b:1"), "goes with --api"),
        (("--api", "https://a", "--to", "b:1", "--paste", "a:1"), "excludes --paste"),
        (("--api", "https://a", "--to", "b:1", "--endpoint", "a:1", "--ssh-port", "1"), "--endpoint, --ssh-port"),
        (("--api", "https://a"), "missing: --to"),
        (("--api", "https://a", "--to", "b"), "--to: must be host:port"),
        (("--api", "https://a", "--to", "b:1", "--proxy", "x"), "--proxy: must be"),
    ],
)
def test_options_that_make_no_sense(customer: Customer, options: tuple[str, ...], said: str) -> None:
    done = customer.try_run("register", *options)

    assert done.returncode == 64
    assert said in done.stderr


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        ("401 Unauthorized", 77, "does not accept the token: 401 Unauthorized, no \\x1b[2J"),
        ("403 Forbidden", 77, "does not accept the token"),
        ("404 Not Found", 64, "no registration API at this URL"),
        ("407 Proxy", 69, "the proxy wants a user"),
        ("409 Conflict", 64, "with another key"),
        ("422 Unprocessable", 77, "ioconnect keygen"),
        ("429 Too Many Requests", 69, "429 Too Many Requests"),
        ("500 Internal Server Error", 69, "Try again later"),
        ("503 Service Unavailable", 69, "cannot register the tunnel now: 503"),
        ("599 Odd", 69, "now: 599"),
    ],
)
def test_every_refusal_has_its_words(customer: Customer, token_file: Path, status: str, code: int, said: str) -> None:
    """The API's own words are shown, harmless."""
    with answering(http(status, json.dumps({"error": "no \x1b[2J"}).encode())) as server:
        done = register(customer, f"http://127.0.0.1:{server.port}", token_file)

    assert done.returncode == code
    assert said in done.stderr
    assert "\x1b" not in done.stderr
    assert nothing_saved(customer)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
def test_the_token_follows_no_redirect(customer: Customer, token_file: Path, status: str) -> None:
    with answering(http("201 Created", json.dumps(good()).encode())) as elsewhere:
        location = f"Location: http://127.0.0.1:{elsewhere.port}/v1/tunnels"
        with answering(http(status, b"", location)) as server:
            done = register(customer, f"http://127.0.0.1:{server.port}", token_file)

    assert done.returncode == 64
    assert "elsewhere" in done.stderr
    assert elsewhere.heads == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"<html>sign in</html>", "not JSON"),
        (b"\xff\xfe", "cannot be used"),
        (b"[]", "not an object"),
        (b"[" * 50000, "cannot be used"),
        (b" " * 70000, "longer than"),
        (good(name=None), "name is missing"),
        (good(name="other"), 'the tunnel "other", not orders'),
        (good(endpoint=None), "endpoint is missing"),
        (good(endpoint="jump"), "must be host:port"),
        (good(endpoint=7), "endpoint is not str"),
        (good(endpoint="-oProxyCommand=x:1"), "not a host name"),
        (good(ssh_port="50683"), "ssh_port is not int"),
        (good(ssh_port=0), "from 1 to 65535"),
        (good(ssh_port=True), "ssh_port is not int"),
        (good(ssh_user=None), "ssh_user is missing"),
        (good(ssh_user="a\nb"), "not a user name"),
        (good(host_keys=None), "host_keys is missing"),
        (good(host_keys=[]), "host_keys holds 0 keys"),
        (good(host_keys=["ssh-ed25519"]), "not TYPE KEY"),
        (good(host_keys=[1]), "not TYPE KEY"),
        (good(host_keys=["ssh-ed25519 AAAA"]), "truncated"),
        (good(host_keys=["ssh-rsa " + good()["host_keys"][0].split()[1]]), "type is not the one"),
        (good(host_keys=[good()["host_keys"][0], "\x1b[2J !"]), "cannot be used"),
    ],
)
def test_an_answer_that_makes_no_sense_is_not_saved(
    customer: Customer, token_file: Path, body: bytes | dict[str, Any], said: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with answering(http("201 Created", content)) as server:
        done = register(customer, f"http://127.0.0.1:{server.port}", token_file)

    assert done.returncode == 69
    assert said in done.stderr
    assert "\x1b" not in done.stderr
    assert nothing_saved(customer)


def test_the_request_is_as_agreed(customer: Customer, token_file: Path) -> None:
    with answering(http("201 Created", json.dumps(good()).encode())) as server:
        done = register(customer, f"http://127.0.0.1:{server.port}/prefix/", token_file)
        (head,) = server.heads

    assert done.returncode == 0
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /prefix/v1/tunnels HTTP/1.1"
    assert f"Authorization: Bearer {TOKEN}" in lines
    assert "Content-Type: application/json" in lines


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{}",
        b"HTTP/1.1 2x\r\n\r\n",
    ],
)
def test_what_is_no_http_is_said(customer: Customer, token_file: Path, content: bytes) -> None:
    def script(connection: socket.socket) -> None:
        proxies.read_head(connection)
        connection.sendall(content)

    server = proxies.Scripted(script)
    try:
        done = register(customer, f"http://127.0.0.1:{server.port}", token_file)
    finally:
        server.stop()

    assert done.returncode == 69
    assert done.stderr.count("error: ") == 1
    assert "bug" not in done.stderr


@pytest.mark.parametrize("dribble", [False, True], ids=["silent", "a byte now and then"])
def test_a_server_that_never_ends_its_answer_has_a_deadline(dribble: bool) -> None:  # noqa: FBT001  pytest's parameter
    """No timeout of a socket sees the second one; http.client counts lines and interim answers, not seconds."""

    def script(connection: socket.socket) -> None:
        proxies.read_head(connection)
        connection.settimeout(0.02 if dribble else None)
        while True:
            if dribble:
                connection.sendall(b"H")
            with contextlib.suppress(TimeoutError):
                if not connection.recv(4096):
                    return

    server = proxies.Scripted(script)
    api = client.checked_url(f"http://127.0.0.1:{server.port}")
    try:
        with pytest.raises(Unreachable, match=r"within 0\.3 s|no answer in time"):
            client.register(api, TOKEN, "orders", "ssh-ed25519 AAAA", timeout=0.3)
    finally:
        server.stop()


def test_nobody_there(customer: Customer, token_file: Path) -> None:
    done = register(customer, "http://127.0.0.1:9", token_file)

    assert done.returncode == 69
    assert "127.0.0.1 cannot be reached: Connection refused" in done.stderr


def test_a_name_that_does_not_resolve(customer: Customer, token_file: Path) -> None:
    done = register(customer, "https://api.ioconnect.invalid", token_file)

    assert done.returncode == 68
    assert "does not resolve" in done.stderr


def test_tls_with_an_authority_that_is_known(customer: Customer, token_file: Path, tmp_path: Path) -> None:
    context, authority = proxies.certified(tmp_path)
    customer.environment["SSL_CERT_FILE"] = str(authority)

    with answering(
        http("201 Created", json.dumps(good()).encode()), lambda script: proxies.inside_tls(context, script)
    ) as server:
        done = register(customer, f"https://127.0.0.1:{server.port}", token_file)

    assert done.returncode == 0
    assert (customer.home / "known_hosts").exists()


def test_a_certificate_that_nobody_signed_gets_no_token(customer: Customer, token_file: Path, tmp_path: Path) -> None:
    context, _ = proxies.certified(tmp_path)

    with answering(http("201 Created", b"{}"), lambda script: proxies.inside_tls(context, script)) as server:
        done = register(customer, f"https://127.0.0.1:{server.port}", token_file)

    assert done.returncode == 76
    assert "certificate of 127.0.0.1 cannot be trusted: self" in done.stderr
    assert server.heads == []
    assert nothing_saved(customer)


def test_plain_http_on_a_tls_port(customer: Customer, token_file: Path) -> None:
    """And the other way round."""

    def script(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(http("400 Bad Request", b""))
        proxies.until_closed(connection)

    server = proxies.Scripted(script)
    try:
        done = register(customer, f"https://127.0.0.1:{server.port}", token_file)
    finally:
        server.stop()

    assert done.returncode == 69
    assert "no TLS with 127.0.0.1" in done.stderr


def test_through_a_proxy_of_the_environment(customer: Customer, token_file: Path, tmp_path: Path) -> None:
    """CONNECT, then TLS with whom we meant: this one has a certificate for another name, so no token."""
    context, authority = proxies.certified(tmp_path)
    heads = []

    def script(connection: socket.socket) -> None:
        heads.append(proxies.read_head(connection))
        connection.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
        proxies.inside_tls(context, silent)(connection)

    def silent(connection: socket.socket) -> None:
        proxies.until_closed(connection)

    server = proxies.Scripted(script)
    customer.environment |= {
        "https_proxy": f"http://me:pass@127.0.0.1:{server.port}",
        "SSL_CERT_FILE": str(authority),
    }
    try:
        done = register(customer, "https://api.ioconnect.invalid", token_file)
        customer.environment["no_proxy"] = "ioconnect.invalid"
        direct = register(customer, "https://api.ioconnect.invalid", token_file)
    finally:
        server.stop()

    assert done.returncode == 76
    assert "cannot be trusted: Hostname mismatch" in done.stderr
    (head,) = heads
    assert head.startswith(b"CONNECT api.ioconnect.invalid:443 ")
    assert b"Proxy-Authorization: Basic bWU6cGFzcw==" in head.replace(b"authorization", b"Authorization")
    assert TOKEN.encode() not in head
    assert direct.returncode == 68


def test_a_proxy_that_refuses(customer: Customer, token_file: Path) -> None:
    with answering(http("403 Filtered", b"")) as proxy:
        customer.environment["https_proxy"] = f"http://127.0.0.1:{proxy.port}"
        done = register(customer, "https://api.ioconnect.invalid", token_file)

    assert done.returncode == 69
    assert "the proxy refuses the way to api.ioconnect.invalid" in done.stderr
    assert "403" in done.stderr


def test_what_is_on_this_machine_is_reached_without_a_proxy(
    customer: Customer, rig: stub.StubRig, token_file: Path
) -> None:
    """The token would leave the machine unencrypted."""
    with answering(http("201 Created", json.dumps(good()).encode())) as proxy:
        customer.environment["http_proxy"] = f"http://127.0.0.1:{proxy.port}"
        done = register(customer, rig.stub.url, token_file)

    assert done.returncode == 0
    assert proxy.heads == []
