"""Whoever answers at the jumphost's address: a session ends with a reason, in time, and leaves nothing behind."""

from __future__ import annotations

import logging
import os
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.rigs import processes
from tests.rigs.agent_session import LooseSession, Usage
from tests.rigs.scripted_jumphost import string
from tests.rigs.stranger import Stranger, until_it_leaves

from ioconnect.agent.tunnel.events import Lost

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ioconnect.errors import Fault

PATIENCE = 1.0  # seconds that the session has
BANNER = b"SSH-2.0-stranger\r\n"
STRICT = b"curve25519-sha256,kex-strict-s-v00@openssh.com"
DISCONNECT, IGNORE, UNIMPLEMENTED, DEBUG, SERVICE_ACCEPT, KEXINIT, NEWKEYS, KEX_REPLY, AUTH_SUCCESS = (
    1,
    2,
    3,
    4,
    6,
    20,
    21,
    31,
    52,
)


def packet(payload: bytes) -> bytes:
    """Return an unencrypted packet (RFC 4253 section 6)."""
    padding = 8 - (len(payload) + 5) % 8
    padding += 8 if padding < 4 else 0
    return struct.pack(">IB", len(payload) + padding + 1, padding) + payload + bytes(padding)


def kexinit(
    *, kex: bytes = b"curve25519-sha256", host_key: bytes = b"ssh-ed25519", rest: bytes | None = None
) -> bytes:
    """Return a KEXINIT that an honest jumphost could send, or with absurdities for the `rest` of its lists."""
    lists = [
        kex,
        host_key,
        *2 * (b"aes128-ctr",),
        *2 * (b"hmac-sha2-256-etm@openssh.com",),
        *2 * (b"none",),
        b"",
        b"",
    ]
    if rest is None:
        rest = b"".join(map(string, lists[1:])) + bytes(5)
    return bytes((KEXINIT,)) + bytes(16) + string(kex) + rest


def says(*parts: bytes) -> Callable[[socket.socket], None]:
    """Return a talk: introduce yourself, say all that, and wait for the other side to leave."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(BANNER + b"".join(parts))
        until_it_leaves(connection)

    return talk


def only(text: bytes) -> Callable[[socket.socket], None]:
    """Return a talk: say just that, and leave."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        until_it_leaves(connection)

    return talk


def resets_after(text: bytes) -> Callable[[socket.socket], None]:
    """Return a talk: say just that, and leave with what came unread, which makes the end a reset."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(text)
        assert connection.recv(1)

    return talk


def for_ever(piece: bytes, *, first: bytes = b"", pause: float = 0.0) -> Callable[[socket.socket], None]:
    """Return a talk: repeat yourself until the other side has enough."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(piece)
            if pause:
                threading.Event().wait(pause)

    return talk


def end_of(talk: Callable[[socket.socket], None], folder: Path) -> Fault:
    """Return the fault of a session with this stranger; nothing of it may be left."""
    usage = Usage()

    def held() -> dict[str, str]:
        return {
            number: what for number, what in usage.descriptors().items() if "anon_inode" in what or "pipe" in what
        }

    before = len(held())
    with Stranger(talk) as stranger:
        loose = LooseSession(folder, stranger.port, patience=PATIENCE)
        begin = time.monotonic()
        loose.session.start()
        lost = loose.reports.take(Lost, deadline=PATIENCE + 10)
        took = time.monotonic() - begin
        processes.wait_until(lambda: not session_threads(), what="its threads end", instead=session_threads)
    assert took < PATIENCE + 5
    processes.wait_until(lambda: len(held()) <= before, what="its descriptors are closed", instead=held)
    fault: Fault = lost.fault
    assert fault.message
    assert fault.hint
    assert not lost.unclean
    return fault


def session_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("tunnel ", "dial "))]


STRANGERS = {
    "silent": (until_it_leaves, "banner_timeout", "no SSH server introduced itself"),
    "gone": (only(b""), "connection_lost", "closed the connection before it introduced itself"),
    "half a banner": (only(b"SSH-2."), "connection_lost", "closed the connection before it introduced itself"),
    "a web server": (only(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "connection_lost", "HTTP/1.1 400 Bad Request"),
    "gone with a reset": (resets_after(b""), "connection_lost", "broke before it introduced itself"),
    "a web server in a hurry": (resets_after(b"HTTP/1.0 500 No\r\n"), "connection_lost", 'saying "HTTP/1.0 500 No"'),
    "crowded": (only(b"Exceeded MaxStartups\r\n"), "too_many_connections", "Exceeded MaxStartups"),
    "punishing": (only(b"Not allowed at this time\r\n"), "penalized", "Not allowed at this time"),
    "one endless line": (for_ever(b"x" * 4096), "connection_lost", "endless line"),
    "lines without end": (for_ever(b"wait a bit\r\n"), "connection_lost", "wait a bit"),
    "control characters": (only(b"\x1b]0;owned\x07\r\n"), "connection_lost", "owned"),
    "a byte now and then": (for_ever(b"S", pause=0.05), "banner_timeout", "no SSH server introduced itself"),
    "a packet now and then": (
        for_ever(packet(bytes((IGNORE,)) + string(b"x")), first=BANNER, pause=0.1),
        "kex_timeout",
        "did not finish the key exchange",
    ),
    "packets without end": (
        for_ever(64 * packet(bytes((DEBUG, 1)) + string(b"x") + string(b"")), first=BANNER),
        "connection_lost",
        "more than 16 messages before its KEXINIT",
    ),
    "half a DEBUG": (
        says(packet(bytes((DEBUG, 1)) + struct.pack(">I", (1 << 20) - 1) + b"x")),
        "connection_lost",
        "a message that ends 1048574 bytes early",
    ),
    "17 packets first": (
        says(17 * packet(bytes((IGNORE,)) + string(b"x")), packet(kexinit())),
        "connection_lost",
        "more than 16 messages before its KEXINIT",
    ),
    "16 packets first": (
        says(16 * packet(bytes((DEBUG, 1)) + string(b"x") + string(b"")), packet(kexinit()), packet(b"\xff")),
        "connection_lost",
        "message 255 during a key exchange",
    ),
    "packets without end in the exchange": (
        for_ever(64 * packet(bytes((IGNORE,)) + string(b"x")), first=BANNER + packet(kexinit())),
        "connection_lost",
        "more than 256 messages before the sign-in",
    ),
    "an old one": (only(b"SSH-1.5-old\r\n"), "connection_lost", "Incompatible version"),
    "noise": (says(os.urandom(1 << 16)), "connection_lost", ""),
    "a packet of 4 GiB": (says(struct.pack(">IB", 2**32 - 4, 4) + bytes(50)), "connection_lost", "packet of"),
    "a packet of nothing": (says(bytes(64)), "connection_lost", ""),
    "more padding than packet": (says(struct.pack(">IB", 12, 255) + bytes(11)), "connection_lost", ""),
    "half a packet": (only(BANNER + packet(kexinit())[:50]), "connection_lost", "closed the connection"),
    "half a KEXINIT": (says(packet(kexinit()[:30])), "connection_lost", "bytes early"),
    "lists of absurd length": (says(packet(kexinit(rest=b"\xff" * 60))), "connection_lost", ""),
    "names that are no text": (says(packet(kexinit(kex=b"\xff\xfe,\x80"))), "connection_lost", "not UTF-8"),
    "nothing in common": (says(packet(kexinit(kex=b"rot13"))), "algorithms_mismatch", "it offers rot13"),
    "no key in the reply": (says(packet(kexinit()), packet(bytes((KEX_REPLY,)))), "connection_lost", ""),
    "absurd lengths in the reply": (
        says(packet(kexinit()), packet(bytes((KEX_REPLY,)) + b"\xff" * 80)),
        "connection_lost",
        "",
    ),
    "a key of zeros": (
        says(packet(kexinit()), packet(bytes((KEX_REPLY,)) + string(bytes(51)) + string(bytes(32)) + string(b"sig"))),
        "connection_lost",
        "",
    ),
    "keys before their exchange": (says(packet(bytes((NEWKEYS,)))), "connection_lost", "Expecting packet"),
    "keys in mid-exchange": (says(packet(kexinit()), packet(bytes((NEWKEYS,)))), "connection_lost", ""),
    "another KEXINIT": (says(packet(kexinit()), packet(kexinit())), "connection_lost", ""),
    "signed in already": (says(packet(bytes((AUTH_SUCCESS,)))), "connection_lost", ""),
    "signed in during the exchange": (says(packet(kexinit()), packet(bytes((AUTH_SUCCESS,)))), "connection_lost", ""),
    "a service that nobody asked for": (
        says(packet(bytes((SERVICE_ACCEPT,)) + string(b"ssh-userauth"))),
        "connection_lost",
        "",
    ),
    "a channel before the sign-in": (says(packet(bytes((90,)) + bytes(40))), "connection_lost", "before the sign-in"),
    "a global request before the sign-in": (
        says(packet(bytes((80,)) + string(b"x") + b"\1")),
        "connection_lost",
        "before the sign-in",
    ),
    "a ping in the exchange": (
        says(packet(kexinit()), packet(bytes((192,)) + string(b"x"))),
        "connection_lost",
        "192",
    ),
    "a pong before the exchange": (
        says(packet(bytes((193,)) + string(b"x"))),
        "connection_lost",
        "message 193 during",
    ),
    "an unknown message in the exchange": (
        says(packet(kexinit()), packet(b"\xff")),
        "connection_lost",
        "message 255",
    ),
    "IGNORE first, though strict": (
        says(packet(bytes((IGNORE,)) + string(b"x")), packet(kexinit(kex=STRICT))),
        "connection_lost",
        "KEXINIT was not the first packet",
    ),
    "IGNORE in a strict exchange": (
        says(packet(kexinit(kex=STRICT)), packet(bytes((IGNORE,)) + string(b"x"))),
        "connection_lost",
        "strict",
    ),
    "DEBUG in a strict exchange": (
        says(packet(kexinit(kex=STRICT)), packet(bytes((DEBUG, 1)) + string(b"x") + string(b""))),
        "connection_lost",
        "strict",
    ),
    "UNIMPLEMENTED in a strict exchange": (
        says(packet(kexinit(kex=STRICT)), packet(bytes((UNIMPLEMENTED,)) + bytes(4))),
        "connection_lost",
        "Expecting packet",
    ),
    "a KEXINIT of 17 KiB": (says(packet(kexinit(kex=b"x," * 8192))), "connection_lost", "key exchange with 16"),
    "a goodbye": (
        says(packet(bytes((DISCONNECT,)) + struct.pack(">I", 2) + string(b"come back \x1b[31mlater") + string(b""))),
        "connection_lost",
        "come back",
    ),
    "half a goodbye": (says(packet(bytes((DISCONNECT, 0)))), "connection_lost", ""),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_a_stranger(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    """The reason is the right one and says what was seen, nothing counts as our bug, nothing is left."""
    talk, code, part = STRANGERS[name]
    fault = end_of(talk, tmp_path / "c")

    assert fault.code is not None
    assert fault.code.value == code
    assert part in fault.message
    assert fault.message.isprintable()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


GROUP_16 = kexinit(kex=b"diffie-hellman-group16-sha512")
ANNOUNCED = struct.pack(">I", (1 << 20) - 1) + b"\x7f\1"  # paramiko takes what is missing for zeros
NUMBERS = {
    "sent": (GROUP_16, string(b"key") + string(b"\x7f" * 250_000), "message 31 of a key exchange with 250"),
    "sent in 15 KB": (GROUP_16, string(b"key") + string(b"\x7f" * 15_000), "a number of 15000 bytes"),
    "announced": (GROUP_16, string(b"key") + ANNOUNCED, "ends 1048573 bytes early"),
    "announced in the host key": (
        kexinit(host_key=b"rsa-sha2-512"),
        string(string(b"ssh-rsa") + ANNOUNCED) + string(bytes(range(1, 33))) + string(b"signature"),
        "ends 1048573 bytes early",
    ),
}


@pytest.mark.parametrize("way", NUMBERS)
def test_an_enormous_number_costs_no_time(tmp_path: Path, way: str) -> None:
    """It is refused before it is parsed, which took seconds."""
    first, reply, part = NUMBERS[way]
    begin = time.process_time()
    fault = end_of(says(packet(first), packet(bytes((KEX_REPLY,)) + reply)), tmp_path / "c")

    assert part in fault.message
    assert time.process_time() - begin < 1.0


PIECES = {
    "IGNORE": 4096 * packet(bytes((IGNORE,)) + string(b"")),
    "long DEBUG": 16 * packet(bytes((DEBUG, 1)) + string(b"\xff" * 200_000) + string(b"")),
}


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("first", [b"", packet(kexinit())], ids=["before the exchange", "in the exchange"])
def test_packets_without_end_cost_no_time(tmp_path: Path, first: bytes, piece: str) -> None:
    """Not until the deadline: a few are read, and of each text its beginning."""
    begin, spent = time.monotonic(), time.process_time()
    end_of(for_ever(PIECES[piece], first=BANNER + first), tmp_path / "c")

    assert time.monotonic() - begin < PATIENCE
    assert time.process_time() - spent < PATIENCE / 2


PACKETS = st.builds(
    lambda kind, body: packet(bytes((kind,)) + body),
    st.integers(0, 255),
    st.one_of(st.binary(max_size=60), st.builds(lambda rest: string(rest) * 3, st.binary(max_size=30))),
)
PARTS = st.one_of(
    st.just(packet(kexinit())), PACKETS, st.binary(max_size=80), st.builds(packet, st.binary(min_size=1))
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(PARTS, max_size=6))
def test_whatever_a_stranger_says(
    tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture, parts: list[bytes]
) -> None:
    caplog.clear()
    fault = end_of(only(BANNER + b"".join(parts)), tmp_path_factory.mktemp("c"))

    assert fault.code is not None
    assert fault.code.value == "connection_lost"
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
