"""The handshakes with proxies, byte by byte, without a socket."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioconnect.agent.dial.proxy import parse
from ioconnect.agent.dial.proxy_protocols import MAX_HEAD, Handshake, handshake
from ioconnect.config.addresses import HostPort
from ioconnect.errors import NameNotResolved, ProxyRefused

TARGET = HostPort("tunnel.example.com", 50683)
BANNER = b"SSH-2.0-OpenSSH_9.2p1\r\n"
SOCKS_OK = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"


def opened(url: str, target: HostPort = TARGET) -> Handshake:
    proxy = parse(url, origin="proxy")
    assert proxy is not None
    return handshake(proxy, target)


def play(steps: Handshake, stream: bytes) -> tuple[bytes, bytes]:
    """Feed the stream to a handshake until it ends; return what it sent, and what it left unread."""
    sent, step = b"", next(steps)
    try:
        while True:
            if isinstance(step, bytes):
                sent += step
                step = steps.send(b"")
            elif len(stream) >= step:
                taken, stream = stream[:step], stream[step:]
                step = steps.send(taken)
            else:
                step = steps.throw(EOFError())
    except StopIteration:
        return sent, stream


def refusal(url: str, stream: bytes, target: HostPort = TARGET) -> ProxyRefused:
    with pytest.raises(ProxyRefused) as caught:
        play(opened(url, target), stream)
    return caught.value


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 Connection established\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nVia: 1.0 tinyproxy\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 204\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/1.1 200 OK\r\nX: y\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 299 Sure\r\n\r\n",
    ],
)
def test_any_2xx_is_a_pipe_and_the_banner_is_left_in_it(answer: bytes) -> None:
    sent, left = play(opened("http://p:3128"), answer + BANNER)

    assert sent == b"CONNECT tunnel.example.com:50683 HTTP/1.1\r\nHost: tunnel.example.com:50683\r\n\r\n"
    assert left == BANNER


def test_basic_credentials_are_decoded_from_the_url_and_sent_in_utf_8() -> None:
    sent, _ = play(opened("http://us%40er:p%C3%A4%3Ass@p:3128"), b"HTTP/1.1 200 OK\r\n\r\n")

    basic = base64.b64encode("us@er:pä:ss".encode())
    assert b"\r\nProxy-Authorization: Basic " + basic + b"\r\n\r\n" in sent


def test_an_ipv6_jumphost_is_in_brackets() -> None:
    sent, _ = play(opened("http://p:1", HostPort("2001:db8::1", 22)), b"HTTP/1.1 200 OK\r\n\r\n")

    assert sent.startswith(b"CONNECT [2001:db8::1]:22 HTTP/1.1\r\nHost: [2001:db8::1]:22\r\n")


def test_a_name_with_other_letters_is_sent_as_idna() -> None:
    sent, _ = play(opened("http://p:1", HostPort("tünnel.example", 22)), b"HTTP/1.1 200 OK\r\n\r\n")

    assert sent.startswith(b"CONNECT xn--tnnel-kva.example:22 ")


def test_a_name_with_a_line_end_never_reaches_the_proxy() -> None:
    steps = opened("http://p:1", HostPort("a\r\nX: y", 22))

    with pytest.raises(NameNotResolved):
        next(steps)


@pytest.mark.parametrize("name", ["ü" * 70 + ".example", "ü..example"], ids=["long", "empty"])
@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_name_that_idna_cannot_say_is_a_fault(name: str, scheme: str) -> None:
    with pytest.raises(NameNotResolved):
        next(opened(f"{scheme}://p:1", HostPort(name, 22)))


@pytest.mark.parametrize(
    ("answer", "message", "hint"),
    [
        (b"403 Filtered", "does not permit CONNECT to tunnel.example.com:50683 (403 Filtered)", "port 443 only"),
        (b"407 Auth", "wants a user name and a password (407 Auth)", "http://user:password@p:3128"),
        (b"500 Unable to connect", "cannot reach tunnel.example.com:50683", "port 50683"),
        (b"502 Bad Gateway", "cannot reach tunnel.example.com:50683", "port 50683"),
        (b"504", "cannot reach tunnel.example.com:50683 (504)", "port 50683"),
        (b"405 Method Not Allowed", "does not take CONNECT", "web server"),
        (b"302 Found", "refused CONNECT", "network team"),
    ],
)
def test_each_refusal_has_its_own_words(answer: bytes, message: str, hint: str) -> None:
    fault = refusal("http://p:3128", b"HTTP/1.1 " + answer + b"\r\n\r\n")

    assert fault.message.startswith("the proxy http://p:3128 ")
    assert message in fault.message
    assert hint in fault.hint


def test_a_forbidden_port_comes_with_the_sentence_for_the_network_team() -> None:
    fault = refusal("http://p:3128", b"HTTP/1.1 403 No\r\n\r\n")

    assert "allow outgoing TCP connections" in fault.hint
    assert "tunnel.example.com, port 50683" in fault.hint


@pytest.mark.parametrize("status", [b"407", b"401"])
def test_credentials_that_are_not_accepted_are_told_from_missing_ones(status: bytes) -> None:
    fault = refusal(
        "http://u:hunter2@p:3128", b"HTTP/1.1 " + status + b" No\r\nProxy-Authenticate: Basic realm=x\r\n\r\n"
    )

    assert "does not accept the user name or password in proxy" in fault.message
    assert "hunter2" not in fault.message + fault.hint


def test_a_proxy_that_wants_kerberos_is_named() -> None:
    head = b"HTTP/1.1 407 No\r\nproxy-authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n\r\n"
    fault = refusal("http://u:p@p:3128", head)

    assert "Negotiate, NTLM" in fault.hint
    assert "cntlm" in fault.hint


def test_a_proxys_words_are_escaped() -> None:
    fault = refusal("http://p:3128", b"HTTP/1.1 403 \x1b[31mno\x07\r\n\r\n")

    assert "\x1b" not in fault.message
    assert "\\x1b[31mno" in fault.message


def test_headers_without_end_are_cut_off() -> None:
    fault = refusal("http://p:3128", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * MAX_HEAD)

    assert "16 KiB" in fault.message


def test_interim_answers_without_end_are_cut_off() -> None:
    refusal("http://p:3128", b"HTTP/1.1 102 Processing\r\n\r\n" * MAX_HEAD)


@pytest.mark.parametrize(
    "answer", [BANNER, b"\x15\x03\x01\x00\x02\x02\x46", b"\x05\xff", b"HTTPS", b"HTTP/x 200 OK\n\n"]
)
def test_what_is_no_http_proxy_is_said_to_be_none(answer: bytes) -> None:
    assert "does not answer as an HTTP proxy" in refusal("http://p:1", answer).message


def test_half_an_answer_is_shown() -> None:
    assert "HTTP/1.1 2" in refusal("http://p:1", b"HTTP/1.1 2").message


@pytest.mark.parametrize("url", ["http://p:1", "socks5://p:1", "socks5://u:p@p:1"])
def test_no_answer_at_all_is_the_drivers_to_tell(url: str) -> None:
    with pytest.raises(EOFError):
        play(opened(url), b"")


@given(st.binary(max_size=300), st.sampled_from(["http://p:1", "socks5://p:1", "socks5://u:p@p:1"]))
def test_any_answer_is_a_pipe_or_a_refusal(stream: bytes, url: str) -> None:
    with contextlib.suppress(ProxyRefused, EOFError):
        play(opened(url), stream)


@given(st.binary(max_size=64), st.text(alphabet="abc XY:;=-", max_size=200))
def test_whatever_the_headers_the_banner_stays(banner: bytes, header: str) -> None:
    _, left = play(opened("http://p:1"), f"HTTP/1.1 200 OK\r\nX: {header}\r\n\r\n".encode() + banner)

    assert left == banner


def test_socks_sends_the_name_unresolved() -> None:
    sent, left = play(opened("socks5://p:1"), b"\x05\x00" + SOCKS_OK + BANNER)

    assert sent == b"\x05\x01\x00" + b"\x05\x01\x00\x03\x12tunnel.example.com" + (50683).to_bytes(2, "big")
    assert left == BANNER


@pytest.mark.parametrize(
    ("host", "destination"),
    [("192.0.2.1", b"\x01\xc0\x00\x02\x01"), ("2001:db8::1", b"\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01")],
)
def test_socks_sends_an_address_as_one(host: str, destination: bytes) -> None:
    sent, _ = play(opened("socks5://p:1", HostPort(host, 22)), b"\x05\x00" + SOCKS_OK)

    assert sent.endswith(b"\x05\x01\x00" + destination + b"\x00\x16")


def test_socks_credentials() -> None:
    sent, left = play(opened("socks5://us:p%40ss@p:1"), b"\x05\x02" + b"\x01\x00" + SOCKS_OK + BANNER)

    assert sent.startswith(b"\x05\x02\x00\x02" + b"\x01\x02us\x04p@ss" + b"\x05\x01\x00\x03")
    assert left == BANNER


@pytest.mark.parametrize(
    "bound", [b"\x01" + bytes(4), b"\x04" + bytes(16), b"\x03\x00", b"\x03\x05proxy", b"\x03\xff" + bytes(255)]
)
def test_the_address_bound_is_read_whatever_its_kind(bound: bytes) -> None:
    _, left = play(opened("socks5://p:1"), b"\x05\x00" + b"\x05\x00\x00" + bound + b"\x00\x00" + BANNER)

    assert left == BANNER


@pytest.mark.parametrize(
    ("reply", "message", "hint"),
    [
        (1, "general failure", "port 50683"),
        (2, "does not permit", "port 443 only"),
        (3, "network unreachable", "port 50683"),
        (4, "host unreachable", "port 50683"),
        (5, "connection refused", "port 50683"),
        (6, "TTL expired", "port 50683"),
        (7, "CONNECT", "scheme"),
        (8, "kind of address", "scheme"),
        (99, "refused the connection", "port 50683"),
    ],
)
def test_each_socks_reply_has_its_own_words(reply: int, message: str, hint: str) -> None:
    fault = refusal("socks5://p:1", b"\x05\x00" + bytes([5, reply, 0, 1]))

    assert message in fault.message
    assert f"reply {reply}" in fault.message
    assert hint in fault.hint


@pytest.mark.parametrize(
    ("url", "stream", "message"),
    [
        ("socks5://p:1", b"\x05\xff", "wants a user name and a password"),
        ("socks5://u:hunter2@p:1", b"\x05\xff", "does not accept the user name or password"),
        ("socks5://u:hunter2@p:1", b"\x05\x02\x01\x01", "does not accept the user name or password"),
        ("socks5://p:1", b"\x05\x02", "not offered"),
        ("socks5://u:hunter2@p:1", b"\x05\x01", "not offered"),
        ("socks5://p:1", b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not answer as a SOCKS5 proxy"),
        ("socks5://p:1", b"\x04\x5b", "does not answer as a SOCKS5 proxy"),
        ("socks5://u:hunter2@p:1", b"\x05\x02\x05\x00", "does not answer as a SOCKS5 proxy"),
        ("socks5://p:1", b"\x05\x00\x05\x00\x00\x02", "unknown address type"),
    ],
)
def test_socks_answers_that_are_wrong(url: str, stream: bytes, message: str) -> None:
    fault = refusal(url, stream)

    assert message in fault.message
    assert fault.hint
    assert "hunter2" not in fault.message + fault.hint


def test_a_name_too_long_for_socks_is_a_fault() -> None:
    with pytest.raises(NameNotResolved):
        next(opened("socks5://p:1", HostPort("a" * 256, 22)))
