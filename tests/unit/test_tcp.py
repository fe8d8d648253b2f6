"""A socket that is connected to itself is no connection."""

from __future__ import annotations

import socket
from typing import cast

import pytest

from ioconnect.tcp import connected_to_another

HERE = ("127.0.0.1", 50_000)


class ScriptedSocket:
    """A connected socket with these two ends."""

    family = socket.AF_INET

    def __init__(self, own: tuple[str, int], peer: tuple[str, int]) -> None:
        self.getsockname, self.getpeername = (lambda: own), (lambda: peer)
        self.options: list[int] = []
        self.closed = False

    def setsockopt(self, _level: int, option: int, _value: bytes) -> None:
        self.options.append(option)

    def close(self) -> None:
        self.closed = True


def test_who_meets_itself_is_refused_and_frees_the_port() -> None:
    sock = ScriptedSocket(HERE, HERE)
    with pytest.raises(ConnectionRefusedError):
        connected_to_another(cast("socket.socket", sock))

    assert (sock.options, sock.closed) == ([socket.SO_LINGER], True)


def test_another_is_left_alone() -> None:
    sock = ScriptedSocket(HERE, ("127.0.0.1", 50_001))

    assert connected_to_another(cast("socket.socket", sock)) is cast("socket.socket", sock)
    assert not sock.closed
