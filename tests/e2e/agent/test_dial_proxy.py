"""Dialing through proxies that follow a script: nothing lost, nothing waited for beyond the deadline."""

from __future__ import annotations

import contextlib
import hashlib
import selectors
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes
from tests.rigs.proxies import Scripted, certified, inside_tls, read_exactly, read_head, until_closed

from ioconnect.agent.dial import proxy_tls
from ioconnect.agent.dial.connect_failures import NoAnswer, Refused
from ioconnect.agent.dial.dial import DialCancelled, dial
from ioconnect.agent.dial.resolve import Address, Resolver
from ioconnect.config.addresses import HostPort
from ioconnect.errors import ConfigInvalid, NameNotResolved, ProxyRefused

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.rigs.proxies import Script

TARGET = HostPort("tunnel.example.invalid", 50683)
BANNER = b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"
OK = b"HTTP/1.1 200 Connection established\r\n\r\n"
BULK = bytes(range(256)) * (8 << 12)  # 8 MiB


@pytest.fixture
def serve() -> Iterator[Callable[[Script], int]]:
    """Return a function that starts a scripted proxy and gives its port."""
    with contextlib.ExitStack() as ends:

        def start(script: Script) -> int:
            server = Scripted(script)
            ends.callback(server.stop)
            return server.port

        yield start


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    return certified(tmp_path_factory.mktemp("tls"))


def through(url: str, *, seconds: float = 10, **environ: str) -> socket.socket:
    return dial(TARGET, proxy=url, environ=environ, deadline=time.monotonic() + seconds)


def test_a_banner_that_comes_with_the_answer_is_not_lost(serve: Callable[[Script], int]) -> None:
    asked: list[bytes] = []

    def script(connection: socket.socket) -> None:
        asked.append(read_head(connection))
        connection.sendall(OK + BANNER)
        connection.sendall(connection.recv(100).upper())

    with through(f"http://127.0.0.1:{serve(script)}") as sock:
        assert sock.gettimeout() == 0
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        sock.settimeout(10)
        assert read_exactly(sock, len(BANNER)) == BANNER
        sock.sendall(b"hello")
        assert read_exactly(sock, 5) == b"HELLO"
    assert asked[0].startswith(b"CONNECT tunnel.example.invalid:50683 HTTP/1.1\r\n")


def test_an_answer_one_byte_at_a_time(serve: Callable[[Script], int]) -> None:
    def script(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        read_head(connection)
        for byte in OK + BANNER:
            connection.sendall(bytes([byte]))
        until_closed(connection)

    with through(f"http://127.0.0.1:{serve(script)}") as sock:
        sock.settimeout(10)
        assert read_exactly(sock, len(BANNER)) == BANNER


def test_the_environment_names_the_proxy(serve: Callable[[Script], int]) -> None:
    def script(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(OK + BANNER)

    with through("", all_proxy=f"http://127.0.0.1:{serve(script)}") as sock:
        sock.settimeout(10)
        assert read_exactly(sock, len(BANNER)) == BANNER


def test_socks_with_credentials_a_name_and_an_early_banner(serve: Callable[[Script], int]) -> None:
    asked: list[bytes] = []

    def script(connection: socket.socket) -> None:
        assert read_exactly(connection, 4) == b"\x05\x02\x00\x02"
        connection.sendall(b"\x05\x02")
        assert read_exactly(connection, 10) == b"\x01\x02us\x05p@ss!"
        connection.sendall(b"\x01\x00")
        asked.append(read_exactly(connection, 7 + len(TARGET.host)))
        connection.sendall(b"\x05\x00\x00\x03\x05proxy\x12\x34" + BANNER)

    with through(f"socks5://us:p%40ss!@127.0.0.1:{serve(script)}") as sock:
        sock.settimeout(10)
        assert read_exactly(sock, len(BANNER)) == BANNER
    assert asked == [b"\x05\x01\x00\x03" + bytes([len(TARGET.host)]) + b"tunnel.example.invalid" + b"\xc5\xfb"]


def test_headers_without_end(serve: Callable[[Script], int]) -> None:
    def script(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(b"X-Never: ending\r\n" * 100)

    with pytest.raises(ProxyRefused, match="headers without end"):
        through(f"http://127.0.0.1:{serve(script)}")


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 O", b"HTTP/1.1 200 OK\r\nVia: x\r\n"], ids=["none", "line", "head"]
)
def test_half_an_answer(serve: Callable[[Script], int], answer: bytes) -> None:
    def script(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(answer)

    with pytest.raises(ProxyRefused, match="closed the connection"):
        through(f"http://127.0.0.1:{serve(script)}")


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_proxy_that_hangs_up_before_it_was_asked(serve: Callable[[Script], int], scheme: str) -> None:
    with pytest.raises(ProxyRefused, match="closed the connection"):
        through(f"{scheme}://127.0.0.1:{serve(lambda _: None)}")


@pytest.mark.parametrize("scheme", ["http", "socks5", "https"])
def test_silence_ends_at_the_deadline(serve: Callable[[Script], int], scheme: str) -> None:
    port = serve(lambda connection: void(until_closed(connection)))
    started = time.monotonic()
    with pytest.raises(NoAnswer) as caught:
        through(f"{scheme}://127.0.0.1:{port}", seconds=0.5)
    assert 0.5 <= time.monotonic() - started < 3
    assert str(TARGET) in caught.value.message
    assert caught.value.hint


def test_a_trickle_ends_at_the_deadline(serve: Callable[[Script], int]) -> None:
    closed = threading.Event()

    def script(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        while not closed.wait(0.005):
            connection.sendall(b"y")

    port = serve(script)
    started = time.monotonic()
    with pytest.raises(NoAnswer):
        through(f"http://127.0.0.1:{port}", seconds=0.5)
    closed.set()
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_waiting_for_a_proxy_can_be_cancelled(serve: Callable[[Script], int], scheme: str) -> None:
    cancelled, cancel = socket.socketpair()

    def script(connection: socket.socket) -> None:
        connection.recv(1)
        cancel.close()
        until_closed(connection)

    port = serve(script)
    with cancelled, cancel, pytest.raises(DialCancelled):
        dial(
            TARGET,
            proxy=f"{scheme}://127.0.0.1:{port}",
            environ={},
            deadline=time.monotonic() + 30,
            cancelled=cancelled,
        )


def test_a_proxy_that_is_not_there() -> None:
    with pytest.raises(Refused, match="cannot connect to the proxy"):
        through(f"http://127.0.0.1:{processes.free_port()}")


def test_a_proxy_whose_name_does_not_resolve() -> None:
    def lookup(_host: str, _port: int) -> list[Address]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(NameNotResolved, match=r"the proxy's name nowhere\.invalid"):
        dial(
            TARGET,
            proxy="http://u:hunter2@nowhere.invalid:1",
            environ={},
            deadline=time.monotonic() + 10,
            resolver=Resolver(lookup),
        )


def void(_: object) -> None:
    """Make a script of an expression."""


def secure(serve: Callable[[Script], int], certificate: tuple[ssl.SSLContext, Path], script: Script) -> socket.socket:
    context, authority = certificate
    port = serve(inside_tls(context, script))
    return through(f"https://127.0.0.1:{port}", SSL_CERT_FILE=str(authority))


def pump_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "proxy-tls"]


@pytest.fixture
def no_pump_stays() -> Iterator[None]:
    yield
    processes.wait_until(lambda: not pump_threads(), what="the pump ends when either side has closed")


@pytest.mark.usefixtures("no_pump_stays")
def test_tls_with_an_early_banner_is_a_plain_socket(
    serve: Callable[[Script], int], certificate: tuple[ssl.SSLContext, Path]
) -> None:
    def script(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(OK + BANNER)
        connection.sendall(read_exactly(connection, 5).upper())
        until_closed(connection)

    with secure(serve, certificate, script) as sock, selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        assert selector.select(10), "select sees what TLS has already taken in"
        assert sock.gettimeout() == 0
        sock.settimeout(10)
        buffer = bytearray(len(BANNER))
        assert sock.recvmsg_into([buffer])[0] == len(BANNER)
        assert buffer == BANNER
        assert sock.sendmsg([b"he", b"llo"]) == 5
        assert read_exactly(sock, 5) == b"HELLO"


@pytest.mark.usefixtures("no_pump_stays")
def test_much_goes_through_tls_both_ways_at_once(
    serve: Callable[[Script], int], certificate: tuple[ssl.SSLContext, Path]
) -> None:
    def script(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(OK)
        while chunk := connection.recv(65536):
            connection.sendall(chunk)

    with secure(serve, certificate, script) as sock:
        sock.settimeout(30)
        sender = threading.Thread(target=sock.sendall, args=(BULK,))
        sender.start()
        back = read_exactly_fast(sock, len(BULK))
        sender.join(30)
    assert hashlib.sha256(back).digest() == hashlib.sha256(BULK).digest()


def read_exactly_fast(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        more = sock.recv(1 << 20)
        assert more
        data += more
    return bytes(data)


@pytest.mark.usefixtures("no_pump_stays")
def test_what_was_written_before_the_close_arrives_also_against_the_stream(
    serve: Callable[[Script], int], certificate: tuple[ssl.SSLContext, Path]
) -> None:
    """An SSH disconnect is written and the socket closed, whatever still comes in."""
    arrived: list[int] = []
    sent = threading.Event()
    done = threading.Event()

    def script(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(OK + bytes(1 << 20))
        sent.set()
        arrived.append(len(until_closed(connection)))
        done.set()

    with secure(serve, certificate, script) as sock:
        sock.settimeout(10)
        received = read_exactly_fast(sock, 1 << 19)
        assert received
        sock.sendall(bytes(100_000))
    assert sent.wait(10)
    assert done.wait(10)
    assert arrived == [100_000]


@pytest.mark.usefixtures("no_pump_stays")
def test_the_proxys_end_arrives_after_all_it_sent(
    serve: Callable[[Script], int], certificate: tuple[ssl.SSLContext, Path]
) -> None:
    def script(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(OK + BULK)

    with secure(serve, certificate, script) as sock:
        sock.settimeout(10)
        assert until_closed(sock) == BULK


def test_a_proxy_that_takes_nothing_holds_the_pump_no_longer_than_it_lingers(
    serve: Callable[[Script], int], certificate: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy_tls, "LINGER_TIMEOUT", 0.2)
    frozen = threading.Event()

    def script(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(OK)
        frozen.wait(60)

    with secure(serve, certificate, script) as sock:
        with pytest.raises(TimeoutError):  # noqa: PT012  the send that does not fit is the second or a later one
            sock.settimeout(0.5)
            while True:
                sock.sendall(bytes(1 << 20))
        assert pump_threads()
    processes.wait_until(lambda: not pump_threads(), deadline=10, what="the pump gives up")
    frozen.set()


def test_a_certificate_that_nobody_vouches_for(
    serve: Callable[[Script], int], certificate: tuple[ssl.SSLContext, Path]
) -> None:
    asked: list[bytes] = []
    port = serve(inside_tls(certificate[0], lambda connection: asked.append(read_head(connection))))

    with pytest.raises(ProxyRefused, match="certificate of the proxy") as caught:
        through(f"https://u:hunter2@127.0.0.1:{port}")
    assert "SSL_CERT_FILE" in caught.value.hint
    assert asked == [], "no credentials for a proxy that nobody vouches for"


def test_tls_with_a_proxy_that_speaks_none(serve: Callable[[Script], int]) -> None:
    def script(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        until_closed(connection)

    with pytest.raises(ProxyRefused, match="no TLS with the proxy") as caught:
        through(f"https://127.0.0.1:{serve(script)}")
    assert "http://" in caught.value.hint


def test_a_refusal_inside_tls(serve: Callable[[Script], int], certificate: tuple[ssl.SSLContext, Path]) -> None:
    def script(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

    with pytest.raises(ProxyRefused, match="does not permit"):
        secure(serve, certificate, script)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_an_authority_that_cannot_be_read(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigInvalid, match="certificates in") as caught:
        through("https://127.0.0.1:1", SSL_CERT_FILE=str(file))
    assert str(file) in caught.value.message
