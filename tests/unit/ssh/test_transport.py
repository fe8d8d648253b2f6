"""What the peer says beside the protocol's work (RFC 4253 §11): escaped, cut, and in no time, for both roles."""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from ioconnect.ssh.algorithms import EVERYTHING
from ioconnect.ssh.checked_message import CheckedMessage
from ioconnect.ssh.loop import Loop
from ioconnect.ssh.messages import ProtocolViolation, debug, string
from ioconnect.ssh.packetizer import MAX_KEY_EXCHANGE
from ioconnect.ssh.transport import MAX_DEBUG_TEXTS, MAX_TEXT, ClientTransport, LoopTransport

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST = 256 << 10  # bytes of a packet
DISCONNECT, DEBUG = 1, 4
BANNER = b"SSH-2.0-x\r\n"


class Service:
    """A service that nothing is said to."""

    def advance(self) -> None: ...

    def receive(self, kind: int, body: memoryview) -> bool:  # noqa: ARG002  a protocol's signature
        return False

    def end_batch(self) -> bool:
        return False


class Ends:
    """A transport of one role and its peer's socket; `run` has the peer say something and returns what ended it."""

    def __init__(self, kind: type[LoopTransport], **settings: Any) -> None:
        ours, self.peer = socket.socketpair()
        self.errors: list[BaseException | None] = []
        self.loop = Loop()
        self.transport = kind(
            ours, loop=self.loop, service=Service(), ended=self.errors.append, offer=EVERYTHING, **settings
        )
        self.transport.server_mode = kind is LoopTransport

    def run(self, *payloads: bytes) -> BaseException | None:
        self.transport.active = True
        talk = threading.Thread(target=self._say, args=(BANNER + b"".join(map(packet, payloads)),))
        talk.start()
        self.transport.run()
        talk.join()
        return self.errors[0]

    def _say(self, text: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # what ends the session is not at its end
            self.peer.sendall(text)
            self.peer.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.peer.close()
        self.transport.sock.close()
        self.loop.close()


def packet(payload: bytes) -> bytes:
    """Return an unencrypted packet (RFC 4253 §6)."""
    padding = 8 - (len(payload) + 5) % 8 + 8
    return struct.pack(">IB", len(payload) + padding + 1, padding) + payload + bytes(padding)


@pytest.fixture(params=["client", "server"])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    made = Ends(ClientTransport, verify=lambda _blob: None) if request.param == "client" else Ends(LoopTransport)
    yield made
    made.close()


def said(caplog: pytest.LogCaptureFixture, word: str) -> list[str]:
    return [message for message in caplog.messages if f" {word}: " in message]


def test_a_debug_message_is_escaped_and_cut_in_the_log(ends: Ends, caplog: pytest.LogCaptureFixture) -> None:
    """Whether or not it is always to be displayed: at level DEBUG."""
    caplog.set_level(logging.DEBUG)
    always = bytes((DEBUG, 1)) + string(b"\x1b]0;owned\x07\r\n" + b"\xff" * 1000) + string(b"en")
    ends.run(debug("hello"), always)

    by = "client" if ends.transport.server_mode else "jumphost"
    hello, owned = said(caplog, "says")
    assert hello == f"the {by} says: hello"
    assert owned.startswith(f"the {by} says: \\x1b]0;owned\\x07\\r\\n\\xff\\xff")
    assert owned.isprintable()
    assert len(owned.partition(": ")[2]) == MAX_TEXT
    assert [record.levelno for record in caplog.records if " says: " in record.getMessage()] == 2 * [logging.DEBUG]
    assert ends.transport.debug_texts == [text.partition(": ")[2] for text in (hello, owned)]


def test_only_the_last_ones_are_kept(ends: Ends) -> None:
    for number in range(MAX_DEBUG_TEXTS + 5):
        ends.transport._parse_debug(CheckedMessage(debug(f"{number}")[1:]))

    assert ends.transport.debug_texts == [f"{number}" for number in range(5, MAX_DEBUG_TEXTS + 5)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\1",
        b"\0\0\0\0\5four",
        b"\0" + string(b"no language"),
        b"\0\0\x0f\xff\xff" + b"\7" * 20,
        b"\1\xff\xff\xff\xff" + b"x" * MAX_KEY_EXCHANGE,
    ],
)
def test_a_debug_message_that_is_cut_short_ends_the_session(
    ends: Ends, caplog: pytest.LogCaptureFixture, body: bytes
) -> None:
    """As in OpenSSH (packet.c); paramiko took what is missing for zeros, up to 1 MiB, and escaped these for long."""
    caplog.set_level(logging.DEBUG)
    begin = time.thread_time()
    error = ends.run(*15 * [bytes((DEBUG,)) + body])

    assert time.thread_time() - begin < 0.5
    assert isinstance(error, ProtocolViolation)
    assert "bytes early" in str(error)
    assert len(str(error)) < 100
    assert said(caplog, "says") == []


@pytest.mark.parametrize("byte", [b"x", b"\xff", b"\0"])
def test_a_long_text_takes_no_longer_than_a_short_one(ends: Ends, byte: bytes) -> None:
    """A hundred of the longest: paramiko takes a second for each, and a tenth of that to decode what is not UTF-8."""
    begin = time.thread_time()
    for kind, flag in ((DEBUG, b"\0"), (DISCONNECT, b"\0\0\0\2")):
        message = flag + string(byte * LARGEST) + string(b"")
        for _ in range(100):
            getattr(ends.transport, {DEBUG: "_parse_debug", DISCONNECT: "_parse_disconnect"}[kind])(
                CheckedMessage(message)
            )

    assert time.thread_time() - begin < 0.5
    assert len(ends.transport.debug_texts) == MAX_DEBUG_TEXTS
    assert all(len(text) == MAX_TEXT for text in (*ends.transport.debug_texts, ends.transport.disconnect_text))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"\0\0\0\x0b" + string(b"bye\r\n") + string(b"en"), "bye\\r\\n"),
        (b"\0\0\0\x0b" + string(b"\xff"), "\\xff"),
        (b"\0\0\0\x0b\0\0\0\x09no more", "no more"),
        (b"\0\0\0\x0b\xff\xff", ""),
        (b"", ""),
    ],
)
def test_whoever_disconnects_leaves_whatever_the_text(ends: Ends, body: bytes, text: str) -> None:
    assert ends.run(bytes((DISCONNECT,)) + body, debug("afterwards")) is None
    assert ends.transport.disconnect_text == text
    assert ends.transport.debug_texts == []
