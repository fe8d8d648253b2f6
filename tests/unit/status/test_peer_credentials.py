"""Who is at the other end of a Unix socket, on Linux and as macOS says it."""

from __future__ import annotations

import ctypes
import os
import socket
from typing import Any

import pytest

from ioconnect.status.peer_credentials import Peer, peer_of


def test_the_peer_is_this_process() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert peer_of(one) == Peer(os.geteuid(), os.getpid())


class FakeLibrary:
    """A C library with getpeereid(3)."""

    def __init__(self, uid: int, error: int = 0) -> None:
        self.uid, self.error = uid, error

    def getpeereid(self, _descriptor: int, uid: Any, gid: Any) -> int:
        if self.error:
            ctypes.set_errno(self.error)
            return -1
        ctypes.cast(uid, ctypes.POINTER(ctypes.c_uint32))[0] = self.uid
        ctypes.cast(gid, ctypes.POINTER(ctypes.c_uint32))[0] = 20
        return 0


@pytest.fixture
def bsd(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without SO_PEERCRED."""
    monkeypatch.delattr(socket, "SO_PEERCRED", raising=False)


@pytest.mark.usefixtures("bsd")
@pytest.mark.parametrize("uid", [0, 501, 2**32 - 2])
def test_without_so_peercred_getpeereid_says_the_user(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: FakeLibrary(uid))
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert peer_of(one).uid == uid


@pytest.mark.usefixtures("bsd")
def test_a_peer_that_cannot_be_known_is_an_error_and_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: FakeLibrary(0, error=57))
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other, pytest.raises(OSError, match="57"):
        peer_of(one)
