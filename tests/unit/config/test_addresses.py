"""Parsing and validation of host names, ports and proxy URLs."""

from __future__ import annotations

import contextlib
import re
import socket

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ioconnect.config import addresses
from ioconnect.config.addresses import (
    MAX_SOCKET_PATH,
    HostPort,
    SocketPath,
    host,
    host_port,
    parse_host_port,
    parse_target,
    port,
    proxy,
    target,
    user,
)
from ioconnect.errors import ExitCode, UsageFault


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("virginia-tunnel.flydata.app:58115", HostPort("virginia-tunnel.flydata.app", 58115)),
        ("  localhost:3306\n", HostPort("localhost", 3306)),
        ("127.0.0.1:1", HostPort("127.0.0.1", 1)),
        ("[::1]:65535", HostPort("::1", 65535)),
        ("[fe80::1%eth0]:22", HostPort("fe80::1%eth0", 22)),
        ("db_1.internal.:5432", HostPort("db_1.internal.", 5432)),
        ("bücher.example:443", HostPort("bücher.example", 443)),
    ],
)
def test_host_and_port_are_read(text: str, expected: HostPort) -> None:
    assert host_port(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("localhost", "with a port"),
        ("", "with a port"),
        ("localhost:", "number from 1 to 65535"),
        ("localhost:0", "number from 1 to 65535"),
        ("localhost:65536", "number from 1 to 65535"),
        ("localhost:abc", "number from 1 to 65535"),
        ("localhost:-1", "number from 1 to 65535"),
        ("localhost:+80", "number from 1 to 65535"),
        ("localhost:٣٣", "number from 1 to 65535"),
        ("localhost:1" + "0" * 5000, "number from 1 to 65535"),
        (":3306", "the host is empty"),
        ("[]:3306", "not an IPv6 address"),
        ("::1:3306", "in brackets"),
        ("[localhost]:3306", "not an IPv6 address"),
        ("[::1]", "with a port"),
        ("[::1]3306", "with a port"),
        ("[::1:3306", "with a port"),
        ("[fe80::1%;rm]:22", "interface"),
        ("-oProxyCommand=x:22", "not a host name"),
        ("user@host:22", "not a host name"),
        ("http://host:22", "in brackets"),
        ("a b:22", "not a host name"),
        ("a\x1b[2Jb:22", "with a port"),
        ("a\x07b:22", "not a host name"),
        ("<jumphost>:22", "not a host name"),
        ("*:22", "not a host name"),
        ("a,b:22", "not a host name"),
        ("a..b:22", "empty part"),
        (".a:22", "empty part"),
        ("x" * 64 + ".example:22", "longer"),
        (".".join(["abcdefgh"] * 40) + ":22", "longer"),
        ("ü" * 60 + ".example:22", "IDNA"),
    ],
)
def test_what_is_no_host_and_port_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        host_port(text)

    assert str(caught.value).isprintable()


def test_the_option_is_named_with_the_exit_code_of_usage() -> None:
    with pytest.raises(UsageFault) as caught:
        parse_host_port("localhost", path="--to")

    assert caught.value.message == '--to: must be host:port, with a port, not "localhost"'
    assert caught.value.exit_code is ExitCode.USAGE
    assert "3306" in caught.value.hint


@given(st.text())
@example("\ud800:1")
@example("xn--:1")
@example("\u06f1.\u06f1:1")
def test_whatever_passes_can_be_looked_up_and_read_again(text: str) -> None:
    """Nothing that passes makes getaddrinfo raise anything but its own error."""
    try:
        read = host_port(text)
    except ValueError:
        return
    assert host_port(str(read)) == read
    assert 1 <= read.port <= 65535
    with contextlib.suppress(socket.gaierror):
        socket.getaddrinfo(read.host, read.port, flags=socket.AI_NUMERICHOST)


@given(st.text(alphabet="az09.-_éß:%[]", min_size=1, max_size=12))
def test_hosts_of_plausible_characters_can_be_looked_up(text: str) -> None:
    try:
        checked = host(text)
    except ValueError:
        return
    with contextlib.suppress(socket.gaierror):
        socket.getaddrinfo(checked, 1, flags=socket.AI_NUMERICHOST)


@given(st.integers(1, 65535))
def test_every_port_is_read(number: int) -> None:
    assert port(str(number)) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "none",
        "http://proxy:3128",
        "http://proxy:3128/",
        "https://user:pa%40ss@proxy.example:443",
        "socks5://user@[::1]:1080",
        "socks5h://proxy",
    ],
)
def test_a_proxy_is_taken_as_it_is(text: str) -> None:
    assert proxy(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "proxy:3128",
        "ftp://u:SECRET@proxy:21",
        "http:/u:SECRET@proxy",
        "http://u:SECRET@",
        "http://u:SECRET@:3128",
        "http://u:SECRET@proxy:0",
        "http://u:SECRET@proxy:",
        "http://u:SECRET@proxy:65536",
        "http://u:SECRET@proxy:abc",
        "http://u:SECRET@proxy:3128/path",
        "http://u:SECRET@proxy:3128?x",
        "http://u:SECRET#1@proxy:3128",
        "http://u:SECRET@pro xy:3128",
        "http://u:SECRET@proxy\n:3128",
        "http://u:SECRET@[::1:3128",
        "http://u:SECRET@[zz]:3128",
        "http://u:SECRET@a..b:3128",
    ],
)
def test_what_is_no_proxy_is_refused_and_its_password_is_not_shown(text: str) -> None:
    with pytest.raises(ValueError, match="must be") as caught:
        proxy(text)

    assert "SECRET" not in str(caught.value)


@given(st.text())
def test_any_proxy_is_taken_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert proxy(text) == text


@pytest.mark.parametrize("text", ["", "a b", "-l", "a\nb", "a\x1b"])
def test_what_is_no_user_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="user name"):
        user(text)


def test_a_quoted_text_cannot_reach_the_terminal() -> None:
    assert addresses.quoted("a\x1b[2J") == '"a\\x1b[2J"'


# --- Unix sockets

LONGEST = "/" + "x" * (MAX_SOCKET_PATH - 1)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("unix:/run/mysqld/mysqld.sock", "/run/mysqld/mysqld.sock"),
        (" unix:/var/run/postgresql/.s.PGSQL.5432 ", "/var/run/postgresql/.s.PGSQL.5432"),
        ("unix:///run/db.sock", "/run/db.sock"),
        ("unix:/run/with blank:and colon", "/run/with blank:and colon"),
        (f"unix:{LONGEST}", LONGEST),
    ],
)
def test_a_target_may_be_a_unix_socket(text: str, path: str) -> None:
    found = target(text)

    assert found == SocketPath(path)
    assert target(str(found)) == found


@pytest.mark.parametrize("text", ["localhost:3306", "[::1]:5432", "unix:3306"])
def test_other_targets_are_a_host_and_a_port(text: str) -> None:
    """Also a host whose name is `unix`, unless a path follows."""
    if text == "unix:3306":
        with pytest.raises(ValueError, match="absolute path"):
            target(text)
    else:
        assert target(text) == host_port(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("unix:", "absolute path"),
        ("unix:run/db.sock", "absolute path"),
        ("unix:~/db.sock", "absolute path"),
        ("unix:/run/mysqld/", "absolute path"),
        ("/run/mysqld/mysqld.sock", "unix:/path"),
        ("unix:@mysql", "abstract"),
        ("unix:/run/a\nb", "not a socket's path"),
        ("unix:/run/\udcff", "not a socket's path"),
        (f"unix:{LONGEST}x", f"at most {MAX_SOCKET_PATH} bytes, not {MAX_SOCKET_PATH + 1}"),
        (f"unix:/{'ü' * 60}", f"at most {MAX_SOCKET_PATH} bytes, not 121"),
    ],
)
def test_a_path_that_is_no_sockets_is_refused_in_words_that_help(text: str, said: str) -> None:
    with pytest.raises(UsageFault, match=re.escape(said)) as refused:
        parse_target(text, path="--to")

    assert refused.value.message.isprintable()
    assert "unix:/" in refused.value.hint


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/run/mysqld/mysqld.sock", 3306),
        ("/var/lib/mysql/mysql.sock", 3306),
        ("/run/mariadb/MariaDB.sock", 3306),
        ("/run/postgresql/.s.PGSQL.5433", 5432),
        ("/run/mysql/other", 0),
    ],
)
def test_a_sockets_name_tells_the_database(path: str, expected: int) -> None:
    assert SocketPath(path).port == expected


@pytest.mark.parametrize("text", ["", "192.0.2.7", "2001:db8::7", "fe80::7%eth0", "127.0.0.2"])
def test_an_address_to_connect_from(text: str) -> None:
    assert addresses.own_address(text) == text


@pytest.mark.parametrize("text", ["db.example.com", "192.0.2.7:22", "[::1]", "0.0.0.0", "::", "224.0.0.1", "1", " "])
def test_no_address_to_connect_from(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be an IP address of this machine|no connection can come from"):
        addresses.own_address(text)
