"""Which proxy leads to a jumphost: precedence, `no_proxy`, URLs, and passwords that stay where they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioconnect.agent.dial.proxy import Proxy, Scheme, choose, exempted, parse, redacted
from ioconnect.config.addresses import HostPort
from ioconnect.errors import ConfigInvalid

JUMPHOST = HostPort("tunnel.example.com", 50683)


def chosen(setting: str = "", **environ: str) -> str | None:
    proxy = choose(JUMPHOST, setting, environ)
    return None if proxy is None else str(proxy)


def test_without_a_proxy_the_way_is_direct() -> None:
    assert chosen() is None


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("IOCONNECT_PROXY", "all_proxy"),
        ("all_proxy", "ALL_PROXY"),
        ("ALL_PROXY", "https_proxy"),
        ("https_proxy", "HTTPS_PROXY"),
    ],
)
def test_variables_have_an_order(better: str, worse: str) -> None:
    assert chosen(**{better: "http://better:1", worse: "http://worse:1"}) == "http://better:1"
    assert chosen(**{better: " ", worse: "http://worse:1"}) == "http://worse:1", "an empty variable is not set"


def test_the_setting_wins_and_no_proxy_does_not_undo_it() -> None:
    assert chosen("socks5://s:1", IOCONNECT_PROXY="http://e:1", no_proxy="*") == "socks5://s:1"


def test_variables_for_plain_http_are_ignored() -> None:
    assert chosen(http_proxy="http://p:1", HTTP_PROXY="http://p:1") is None


@pytest.mark.parametrize("none", ["none", "NONE", " none "])
def test_none_means_no_proxy(none: str) -> None:
    assert chosen(none, IOCONNECT_PROXY="http://e:1") is None
    assert chosen(IOCONNECT_PROXY=none, all_proxy="http://e:1") is None


def test_no_proxy_counts_for_the_environment_and_its_lower_case_wins() -> None:
    assert chosen(all_proxy="http://p:1", no_proxy=".example.com") is None
    assert chosen(all_proxy="http://p:1", NO_PROXY=".example.com") is None
    assert chosen(all_proxy="http://p:1", no_proxy="other.org", NO_PROXY=".example.com") == "http://p:1"


@pytest.mark.parametrize(
    ("host", "no_proxy", "expected"),
    [
        ("tunnel.example.com", "*", True),
        ("tunnel.example.com", "", False),
        ("tunnel.example.com", "example.com", True),
        ("tunnel.example.com", ".example.com", True),
        ("tunnel.example.com", "*.example.com", True),
        ("example.com", ".example.com", True),
        ("tunnel.example.com.", "Example.COM.", True),
        ("badexample.com", "example.com", False),
        ("badexample.com", ".example.com", False),
        ("tunnel.example.com", "localhost, example.com", True),
        ("tunnel.example.com", "localhost example.com", True),
        ("tunnel.example.com", "example.com:50683", True),
        ("tunnel.example.com", "example.com:443", False),
        ("tunnel.example.com", ".", False),
        ("tunnel.example.com", ",,", False),
        ("tunnel.example.com", "10.0.0.0/8", False),
        ("10.9.9.9", "10.0.0.0/8", True),
        ("10.9.9.9", "10.9.9.9", True),
        ("10.9.9.9", "10.9.9.9:50683", True),
        ("10.9.9.9", "10.9.9.9:22", False),
        ("10.9.9.9", "9.9", False),
        ("11.9.9.9", "10.0.0.0/8", False),
        ("10.9.9.9", "10.0.0.0/99", False),
        ("2001:db8::1", "2001:db8::/32", True),
        ("2001:db8::1", "2001:0db8::0001", True),
        ("2001:db8::1", "[2001:db8::1]", True),
        ("2001:db8::1", "[2001:db8::1]:50683", True),
        ("2001:db8::1", "[2001:db8::1]:22", False),
        ("2001:db8::1", "10.0.0.0/8", False),
        ("::ffff:10.9.9.9", "10.0.0.0/8", True),
    ],
)
def test_no_proxy(host: str, no_proxy: str, expected: bool) -> None:  # noqa: FBT001  a table's column
    assert exempted(HostPort(host, 50683), no_proxy) is expected


@given(st.text(alphabet="ab.:*/[]0123456789, %-", max_size=40))
def test_any_no_proxy_gives_an_answer(no_proxy: str) -> None:
    assert exempted(HostPort("nomatch.invalid", 1), no_proxy) is ("*" in no_proxy.replace(",", " ").split())


@pytest.mark.parametrize(
    ("url", "scheme", "address", "username", "password"),
    [
        ("http://p:3128", Scheme.HTTP, "p:3128", None, ""),
        ("p:3128", Scheme.HTTP, "p:3128", None, ""),
        ("p", Scheme.HTTP, "p:80", None, ""),
        ("HTTPS://P/", Scheme.HTTPS, "p:443", None, ""),
        ("socks5://p", Scheme.SOCKS5, "p:1080", None, ""),
        ("socks5h://u:w@p:9", Scheme.SOCKS5, "p:9", "u", "w"),
        ("http://u%40corp:p%3A%2F%25@[::1]:8", Scheme.HTTP, "[::1]:8", "u@corp", "p:/%"),
        ("http://u@p:8", Scheme.HTTP, "p:8", "u", ""),
        ("u:w@p:8", Scheme.HTTP, "p:8", "u", "w"),
        ("http://u:a@b@p:8", Scheme.HTTP, "p:8", "u", "a@b"),
    ],
)
def test_urls(url: str, scheme: Scheme, address: str, username: str | None, password: str) -> None:
    proxy = parse(url, origin="proxy")

    assert proxy is not None
    assert (proxy.scheme, str(proxy.address), proxy.username, proxy.password) == (scheme, address, username, password)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://u:hunter2@p:1",
        "socks4://u:hunter2@p:1",
        "http://u:hunter2@",
        "http://u:hunter2@p:0",
        "http://u:hunter2@p:65536",
        "http://u:hunter2@p:abc",
        "http://u:hunter2@[::1:8",
        "http://u:hunter2@p:1/path",
        "http://u:hunter2/x@p:1",
        "http://u:hunter2#x@p:1",
        "http://u:hunter2?x@p:1",
        "http://u:hunter2\nx@p:1",
        "http://u:hunter2 @p:1",
        "http://u:hunter2@p!:1",
        "http://u:hunter2@p:1?q",
        "http://a%3Ab:hunter2@p:1",
        "socks5://hunter2@p:1",
        "socks5://u:" + "hunter2" * 40 + "@p:1",
        "hunter2://",
    ],
)
def test_a_url_that_is_none_is_a_fault_without_its_password(url: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        choose(JUMPHOST, "", {"HTTPS_PROXY": url})

    fault = caught.value
    assert "HTTPS_PROXY" in fault.message
    assert fault.hint
    assert fault.faults[0].path == "HTTPS_PROXY"
    assert "hunter2" not in f"{fault.message}{fault.hint}{fault.faults}{fault.__cause__}"
    assert fault.__suppress_context__, "the traceback must not show the parser's words either"


@given(st.text(max_size=60))
def test_any_text_is_a_proxy_or_a_fault(text: str) -> None:
    try:
        proxy = parse(text, origin="proxy")
    except ConfigInvalid:
        return
    assert proxy is None or 1 <= proxy.address.port <= 65535


def test_printing_a_proxy_shows_no_credentials() -> None:
    proxy = Proxy(Scheme.HTTP, HostPort("p", 8), "proxy", "somebody", "hunter2")

    assert "hunter2" not in f"{proxy} {proxy!r}"
    assert "somebody" not in f"{proxy} {proxy!r}"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://u:hunter2@p:1", "http://***@p:1"),
        ("http://u:a@hunter2@p:1", "http://***@p:1"),
        ("http://u:hunter2/x@p:1", "http://***@p:1"),
        ("u:hunter2@p:1", "***@p:1"),
        ("u:://hunter2@p:1", "***@p:1"),
        ("http://p:1", "http://p:1"),
        ("none", "none"),
    ],
)
def test_redacted(url: str, shown: str) -> None:
    assert redacted(url) == shown
