"""The agent's side of the protocol, held against a jumphost that says what no honest one would."""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.rigs.database import BLOCK, Database
from tests.rigs.scripted_jumphost import (
    ADJUST,
    CLOSE,
    DATA,
    EOF,
    GLOBAL_REQUEST,
    OPEN_FAILURE,
    PATIENCE,
    REQUEST_FAILURE,
    Client,
    ScriptedJumphost,
    data_message,
    open_message,
    pack_id,
    string,
)

from ioconnect.config.addresses import HostPort
from ioconnect.ssh import rekey_allowance

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GCM, CTR = "aes128-gcm@openssh.com", "aes256-ctr"


@pytest.fixture(params=[GCM, CTR])
def jumphost(request: pytest.FixtureRequest) -> Iterator[ScriptedJumphost]:
    made = ScriptedJumphost(ciphers=(request.param,))
    yield made
    made.close()


@pytest.fixture
def database() -> Iterator[Database]:
    with Database() as made:
        yield made


@pytest.fixture
def client(tmp_path: Path, jumphost: ScriptedJumphost, database: Database) -> Iterator[Client]:
    made = Client(tmp_path, jumphost, HostPort("127.0.0.1", database.port))
    made.connected()
    yield made
    made.leave()


def echo(jumphost: ScriptedJumphost, peer_id: int, text: bytes) -> int:
    """Send text to a fresh echoing connection, expect it back, and return the client's channel id."""
    channel = jumphost.open(peer_id)
    jumphost.send(data_message(channel, b"E" + bytes(8) + text))
    got = b""
    while len(got) < len(text):
        _, body = jumphost.next(DATA)
        assert struct.unpack(">I", body[:4])[0] == peer_id
        got += body[8:]
    assert got == text
    return channel


@pytest.mark.usefixtures("client")
def test_an_unknown_message_is_answered_and_costs_nothing(jumphost: ScriptedJumphost) -> None:
    """Types that nobody knows get UNIMPLEMENTED, PING gets PONG, and the tunnel goes on."""
    for kind in (15, 79, 83, 101, 127, 128, 191, 200, 255):
        jumphost.send(bytes((kind, 1, 2, 3)))
    jumphost.send(b"\xc0" + string(b"are you there"))

    assert jumphost.next(193) == (193, string(b"are you there"))
    echo(jumphost, 1, b"still here")


@pytest.mark.usefixtures("client")
def test_global_requests_are_answered(jumphost: ScriptedJumphost) -> None:
    """With want-reply they are refused, which is life enough; without, nothing is said."""
    jumphost.send(bytes((GLOBAL_REQUEST,)) + string(b"hostkeys-00@openssh.com") + b"\0")
    jumphost.send(bytes((GLOBAL_REQUEST,)) + string(b"keepalive@openssh.com") + b"\1")

    assert jumphost.next(REQUEST_FAILURE) == (REQUEST_FAILURE, b"")  # beside our own, which sample the round trip


@pytest.mark.usefixtures("client")
def test_a_keepalive_on_a_channel_is_answered(jumphost: ScriptedJumphost) -> None:
    """Sshd's ClientAlive is a channel request while a channel is open."""
    channel = echo(jumphost, 3, b"x")
    jumphost.send(pack_id(98, channel) + string(b"keepalive@openssh.com") + b"\1")

    assert jumphost.next(100) == (100, struct.pack(">I", 3))


@pytest.mark.usefixtures("client")
def test_late_messages_for_a_dead_channel_are_ignored(jumphost: ScriptedJumphost) -> None:
    """After both CLOSEs the id is free; what still names it, or one never used, hurts nobody."""
    channel = echo(jumphost, 5, b"x")
    jumphost.send(pack_id(CLOSE, channel))
    assert jumphost.next(CLOSE) == (CLOSE, struct.pack(">I", 5))
    for late in (
        data_message(channel, b"late"),
        pack_id(EOF, channel),
        pack_id(CLOSE, channel),
        pack_id(ADJUST, channel) + struct.pack(">I", 9),
        data_message(77, b"never opened"),
    ):
        jumphost.send(late)

    assert echo(jumphost, 6, b"the id is used again") == channel


@pytest.mark.usefixtures("client")
def test_nothing_follows_our_close(jumphost: ScriptedJumphost, database: Database) -> None:
    """A reset by the jumphost in mid-stream: one CLOSE, and no DATA, EOF or WINDOW_ADJUST after it."""
    for peer_id in range(20):
        channel = jumphost.open(peer_id, window=200_000)
        jumphost.send(data_message(channel, b"S" + struct.pack(">Q", 10 << 20)))
        jumphost.next(DATA)
        jumphost.send(pack_id(ADJUST, channel) + struct.pack(">I", 1 << 20))
        jumphost.send(pack_id(CLOSE, channel))
        jumphost.next(CLOSE)
    echo(jumphost, 99, b"a full stop")  # all that was to come has come

    assert jumphost.messages.empty()
    assert database.port


def test_a_window_that_opens_too_late(tmp_path: Path, jumphost: ScriptedJumphost) -> None:
    """The database resets while the window is used up; the WINDOW_ADJUST that was under way hurts nobody."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Client(tmp_path, jumphost, HostPort("127.0.0.1", listener.getsockname()[1]))
        client.connected()
        jumphost.send(open_message(1, window=1000))
        talker, _ = listener.accept()
        channel = struct.unpack(">II", jumphost.next(91)[1][:8])[1]
        talker.sendall(bytes(1000))
        jumphost.next(DATA)
        jumphost.send(data_message(channel, b"x"))  # writing to a socket that was reset finds out
        assert talker.recv(1) == b"x"
        talker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        talker.close()
        while jumphost.messages.empty():
            jumphost.send(data_message(channel, b"y"))
        jumphost.next(CLOSE)
        jumphost.send(pack_id(ADJUST, channel) + struct.pack(">I", 5000))
        jumphost.send(pack_id(CLOSE, channel))
        jumphost.send(open_message(2))
        listener.accept()[0].close()
        jumphost.next(91)
        client.leave()


def test_too_much_data_ends_the_session_with_a_reason(client: Client, jumphost: ScriptedJumphost) -> None:
    channel = jumphost.open(1)
    jumphost.send(data_message(channel, b"S" + struct.pack(">Q", 1 << 40)))  # busy talking, not listening
    with contextlib.suppress(EOFError):  # it has had enough
        for _ in range(120):  # more than the window and all buffers; the database reads none of it
            jumphost.send(data_message(channel, bytes(250_000)), wait=False)
    lost = client.lost()

    assert lost.fault.code is not None
    assert lost.fault.code.value == "connection_lost"
    assert "broke the SSH protocol" in lost.fault.message


def test_more_connections_than_allowed_are_refused(
    tmp_path: Path, jumphost: ScriptedJumphost, database: Database
) -> None:
    """The next one gets OPEN_FAILURE 4 (resource shortage), is counted, and a place that is free again is given."""
    client = Client(tmp_path, jumphost, HostPort("127.0.0.1", database.port), max_connections=2)
    client.connected()
    first = jumphost.open(1)
    jumphost.open(2)
    jumphost.send(open_message(3))
    kind, body = jumphost.next(OPEN_FAILURE, 91)

    assert (kind, body[:8]) == (OPEN_FAILURE, struct.pack(">II", 3, 4))
    assert client.counters.refused == 1

    jumphost.send(pack_id(CLOSE, first))
    jumphost.next(CLOSE)
    jumphost.open(4)
    client.leave()


@pytest.mark.usefixtures("client")
def test_what_was_not_asked_for_is_refused(jumphost: ScriptedJumphost) -> None:
    """Another port, another kind of channel, a channel that takes no byte: none reaches the database."""
    jumphost.send(open_message(1, port=4))
    assert jumphost.next(OPEN_FAILURE)[1][:8] == struct.pack(">II", 1, 1)
    jumphost.send(open_message(2, packet=0))
    assert jumphost.next(OPEN_FAILURE)[1][:8] == struct.pack(">II", 2, 1)
    jumphost.send(open_message(3).replace(b"forwarded-tcpip", b"forwarded-shell"))
    assert jumphost.next(OPEN_FAILURE)[1][:8] == struct.pack(">II", 3, 3)


def test_a_database_that_is_down(tmp_path: Path, jumphost: ScriptedJumphost) -> None:
    """The pipeline is refused at once (connect failed), it is counted, the tunnel stays up."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        target = HostPort("127.0.0.1", gone.getsockname()[1])
    client = Client(tmp_path, jumphost, target)
    client.connected()
    jumphost.send(open_message(1))

    assert jumphost.next(OPEN_FAILURE)[1][:8] == struct.pack(">II", 1, 2)
    assert client.counters.failed == 1
    assert client.counters.open == 0
    client.leave()


def test_small_packets_are_kept_to(jumphost: ScriptedJumphost, client: Client) -> None:  # noqa: ARG001
    """A peer that takes 1000 bytes a message gets no more, and every byte in order, within its window."""
    channel = jumphost.open(1, window=5000, packet=1000)
    count = 100_000
    jumphost.send(data_message(channel, b"S" + struct.pack(">Q", count)))
    got = b""
    room = 5000
    while len(got) < count:
        _, body = jumphost.next(DATA)
        assert len(body) - 8 <= 1000
        got += body[8:]
        room -= len(body) - 8
        assert room >= 0
        if room < 1000:
            jumphost.send(pack_id(ADJUST, channel) + struct.pack(">I", 3000))
            room += 3000

    assert got == BLOCK[:count]


def pester(jumphost: ScriptedJumphost, client: Client, done: threading.Event, *, rekey: bool) -> None:
    """Keep asking, opening and (as the jumphost) changing keys, in the middle of everything."""
    for peer_id in range(1000, 100_000):
        if done.wait(0.002):
            return
        jumphost.send(bytes((GLOBAL_REQUEST,)) + string(b"keepalive@openssh.com") + b"\1")
        jumphost.send(open_message(peer_id, port=1))
        client.session.probe()
        if rekey and peer_id % 3 == 0:
            jumphost.rekey()


def echoed(jumphost: ScriptedJumphost, channel: int, total: int) -> bytes:
    """Send `total` bytes of BLOCK to an echo, half a megabyte ahead at most, and return what comes back."""
    room = threading.Semaphore(30)

    def feed() -> None:
        for at in range(0, total, 16_000):
            room.acquire()
            jumphost.send(data_message(channel, BLOCK[at : min(at + 16_000, total)]))

    feeder = threading.Thread(target=feed)
    feeder.start()
    got = b""
    while len(got) < total:
        kind, body = jumphost.next(DATA, GLOBAL_REQUEST)
        if kind == GLOBAL_REQUEST:
            jumphost.send(bytes((REQUEST_FAILURE,)))
            continue
        before = len(got) // 16_000
        got += body[8:]
        for _ in range(len(got) // 16_000 - before):
            room.release()
    feeder.join(PATIENCE)
    return got


@pytest.mark.parametrize("who", ["client", "jumphost"])
def test_rekeying_under_load(
    tmp_path: Path,
    jumphost: ScriptedJumphost,
    database: Database,
    who: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Data both ways, opens, closes and global requests through many key exchanges: nothing lost, no rule broken."""
    if who == "client":
        monkeypatch.setenv("IOCONNECT_REKEY_BYTES", "150000")
    monkeypatch.setattr(rekey_allowance, "SECONDS", 0.0)  # as often as the jumphost likes
    client = Client(tmp_path, jumphost, HostPort("127.0.0.1", database.port))
    client.connected()
    channel = jumphost.open(1, window=1 << 30)
    jumphost.send(data_message(channel, b"E" + bytes(8)))
    done = threading.Event()
    pest = threading.Thread(target=pester, args=(jumphost, client, done), kwargs={"rekey": who == "jumphost"})
    pest.start()
    got = b"".join(echoed(jumphost, channel, len(BLOCK)) for _ in range(3))
    done.set()
    pest.join(PATIENCE)

    assert got == 3 * BLOCK
    assert jumphost.key_exchanges > 3
    assert jumphost.violations == []
    client.leave()


KINDS = st.one_of(
    st.integers(80, 100), st.sampled_from([1, 2, 3, 4, 5, 6, 7, 20, 21, 30, 31, 50, 51, 52, 60, 192, 193])
)
ABSURD = st.one_of(
    st.binary(max_size=40),
    st.builds(lambda n, rest: struct.pack(">I", n) + rest, st.integers(0, 2**32 - 1), st.binary(max_size=60)),
    st.builds(
        lambda c, n, rest: struct.pack(">II", c, n) + rest,
        st.integers(0, 3),
        st.sampled_from([0, 1, 5, 2**31, 2**32 - 1]),
        st.binary(max_size=30),
    ),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.tuples(KINDS, ABSURD), min_size=1, max_size=6))
def test_absurd_messages(
    tmp_path_factory: pytest.TempPathFactory,
    caplog: pytest.LogCaptureFixture,
    messages: list[tuple[int, bytes]],
) -> None:
    """Truncated and absurd messages: the session goes on, or ends with a reason; never a bug, never a hang."""
    caplog.clear()
    jumphost = ScriptedJumphost()
    client = Client(tmp_path_factory.mktemp("absurd"), jumphost, HostPort("127.0.0.1", 9))
    try:
        client.connected()
        with contextlib.suppress(EOFError, OSError):  # it has had enough
            for kind, body in messages:
                jumphost.send(bytes((kind,)) + body, wait=False)
        client.leave()  # Closed if it lived, Lost if it did not: either is an end
    finally:
        jumphost.close()

    assert [r for r in caplog.records if r.levelno >= logging.ERROR and r.name.startswith("ioconnect")] == []
