"""Dialling through Debian's tinyproxy and microsocks to a real sshd: its banner arrives, refusals are understood."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes
from tests.rigs.proxies import microsocks, read_exactly, tinyproxy

from ioconnect.agent.dial.connect_failures import NoAnswer
from ioconnect.agent.dial.dial import dial
from ioconnect.config.addresses import HostPort
from ioconnect.errors import ProxyRefused

if TYPE_CHECKING:
    from pathlib import Path

    from tests.rigs.sshd import Sshd


def greeting(target: HostPort, proxy: str) -> bytes:
    """Return the first bytes of the SSH server behind a proxy."""
    with dial(target, proxy=proxy, environ={}, deadline=time.monotonic() + 10) as sock:
        sock.settimeout(10)
        return read_exactly(sock, 16)


def refusal(target: HostPort, proxy: str) -> ProxyRefused:
    with pytest.raises(ProxyRefused) as caught:
        greeting(target, proxy)
    assert "hunter2" not in caught.value.message + caught.value.hint
    return caught.value


def test_tinyproxy(tmp_path: Path, sshd: Sshd) -> None:
    with tinyproxy(tmp_path) as port:
        assert greeting(HostPort(sshd.host, sshd.port), f"http://127.0.0.1:{port}") == b"SSH-2.0-OpenSSH_"
        assert greeting(HostPort("localhost", sshd.port), f"127.0.0.1:{port}") == b"SSH-2.0-OpenSSH_"


def test_tinyproxy_that_allows_443_only(tmp_path: Path, sshd: Sshd) -> None:
    with tinyproxy(tmp_path, "ConnectPort 443") as port:
        fault = refusal(HostPort(sshd.host, sshd.port), f"http://127.0.0.1:{port}")

    assert f"does not permit CONNECT to 127.0.0.1:{sshd.port} (403" in fault.message
    assert f"to 127.0.0.1, port {sshd.port}" in fault.hint


def test_tinyproxy_with_credentials(tmp_path: Path, sshd: Sshd) -> None:
    target = HostPort(sshd.host, sshd.port)
    with tinyproxy(tmp_path, "BasicAuth somebody hunter2") as port:
        assert greeting(target, f"http://somebody:hunter2@127.0.0.1:{port}") == b"SSH-2.0-OpenSSH_"
        missing = refusal(target, f"http://127.0.0.1:{port}")
        wrong = refusal(target, f"http://somebody:hunter3@127.0.0.1:{port}")

    assert "wants a user name and a password (407" in missing.message
    assert "does not accept the user name or password" in wrong.message
    assert "hunter3" not in wrong.message + wrong.hint


def test_tinyproxy_before_a_jumphost_that_is_not_there(tmp_path: Path) -> None:
    with tinyproxy(tmp_path) as port:
        fault = refusal(HostPort("127.0.0.1", processes.free_port()), f"http://127.0.0.1:{port}")

    assert "cannot reach 127.0.0.1" in fault.message


def test_microsocks(tmp_path: Path, sshd: Sshd) -> None:
    with microsocks(tmp_path) as port:
        assert greeting(HostPort(sshd.host, sshd.port), f"socks5://127.0.0.1:{port}") == b"SSH-2.0-OpenSSH_"
        assert greeting(HostPort("localhost", sshd.port), f"socks5h://127.0.0.1:{port}") == b"SSH-2.0-OpenSSH_"


def test_microsocks_with_credentials(tmp_path: Path, sshd: Sshd) -> None:
    target = HostPort(sshd.host, sshd.port)
    with microsocks(tmp_path, "-u", "somebody", "-P", "hunter2") as port:
        assert greeting(target, f"socks5://somebody:hunter2@127.0.0.1:{port}") == b"SSH-2.0-OpenSSH_"
        missing = refusal(target, f"socks5://127.0.0.1:{port}")
        wrong = refusal(target, f"socks5://somebody:hunter3@127.0.0.1:{port}")

    assert "wants a user name and a password" in missing.message
    assert "does not accept the user name or password" in wrong.message


def test_microsocks_before_a_jumphost_that_is_not_there(tmp_path: Path) -> None:
    with microsocks(tmp_path) as port:
        fault = refusal(HostPort("127.0.0.1", processes.free_port()), f"socks5://127.0.0.1:{port}")

    assert "was refused by 127.0.0.1" in fault.message


def test_http_with_a_socks_proxy_is_told(tmp_path: Path) -> None:
    with microsocks(tmp_path) as port:
        fault = refusal(HostPort("127.0.0.1", 1), f"http://127.0.0.1:{port}")

    assert "does not answer as an HTTP proxy" in fault.message


def test_socks_with_an_http_proxy_is_silence_and_the_hint_says_why(tmp_path: Path) -> None:
    """Tinyproxy takes a SOCKS greeting for half a line, and waits for the rest."""
    with tinyproxy(tmp_path) as port, pytest.raises(NoAnswer) as caught:
        dial(HostPort("127.0.0.1", 1), proxy=f"socks5://127.0.0.1:{port}", environ={}, deadline=time.monotonic() + 1)

    assert "scheme" in caught.value.hint
