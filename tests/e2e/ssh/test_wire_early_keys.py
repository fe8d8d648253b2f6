"""A jumphost asks for new keys sooner than its allowance permits: that waits, and nothing else does."""

from __future__ import annotations

import contextlib
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes
from tests.rigs.database import BLOCK, Database
from tests.rigs.scripted_jumphost import DATA, Client, ScriptedJumphost, data_message, string

from ioconnect.agent.session import forward
from ioconnect.agent.tunnel.events import Closed
from ioconnect.config.addresses import HostPort
from ioconnect.keys import public_keys
from ioconnect.ssh import rekey_allowance
from ioconnect.ssh.rekey_allowance import RekeyAllowance
from ioconnect.tcp import reset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

IGNORE, KEXINIT = 2, 20
AMOUNT = 900_000
SOON = 2.0  # seconds; less than any deadline that could have ended it instead


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Callable[..., tuple[ScriptedJumphost, Client]]]:
    """Return a function that makes a jumphost and a session with it that is up."""
    with contextlib.ExitStack() as ends:
        database = ends.enter_context(Database())

        def make(
            cipher: str = "aes128-gcm@openssh.com", *, strict: bool = True, **tunnel: float
        ) -> tuple[ScriptedJumphost, Client]:
            jumphost = ScriptedJumphost(ciphers=(cipher,), strict=strict)
            ends.callback(jumphost.close)
            client = Client(tmp_path, jumphost, HostPort("127.0.0.1", database.port), **tunnel)
            ends.callback(client.leave)
            client.connected()
            return jumphost, client

        yield make


@pytest.fixture
def permitted(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Return an event: until it is set, key exchanges that the jumphost begins must wait."""
    event = threading.Event()
    monkeypatch.setattr(RekeyAllowance, "delay", lambda _, _now: 0.0 if event.is_set() else 0.05)
    yield event
    event.set()


def ask(jumphost: ScriptedJumphost, client: Client) -> None:
    """Ask for new keys, and wait until the session has seen it."""
    jumphost.rekey()
    loop = client.session._loop
    processes.wait_until(lambda: loop.transport_paused, what="the KEXINIT is held back")


def received(jumphost: ScriptedJumphost, count: int) -> bytes:
    got = b""
    while len(got) < count:
        got += jumphost.next(DATA)[1][8:]
    return got


@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "aes256-ctr"])
@pytest.mark.parametrize("strict", [True, False], ids=["counted anew", "counted on"])
def test_what_we_send_goes_on(
    connect: Callable[..., tuple[ScriptedJumphost, Client]], permitted: threading.Event, cipher: str, *, strict: bool
) -> None:
    """As long as there is a window; then new keys, and not a byte is lost on either way."""
    jumphost, client = connect(cipher, strict=strict)
    echo, source = jumphost.open(1, window=1 << 30), jumphost.open(2, window=AMOUNT + 9)
    jumphost.send(data_message(echo, b"E" + bytes(8)))
    jumphost.send(data_message(echo, BLOCK[:30_000]))
    assert received(jumphost, 30_000) == BLOCK[:30_000]
    jumphost.send(data_message(source, b"S" + struct.pack(">Q", AMOUNT)))
    ask(jumphost, client)

    assert received(jumphost, AMOUNT) == BLOCK[:AMOUNT]
    assert jumphost.key_exchanges == 1
    permitted.set()
    jumphost.send(data_message(echo, BLOCK[:30_000]))
    assert received(jumphost, 30_000) == BLOCK[:30_000]
    assert jumphost.key_exchanges == 2
    assert jumphost.violations == []
    assert client.counters.open > 0


def test_the_jumphost_does_not_count_as_dead(
    connect: Callable[..., tuple[ScriptedJumphost, Client]],
    permitted: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither for want of an answer to a keepalive, nor as one that does not finish: it is this side that waits."""
    monkeypatch.setattr(forward, "REKEY_PATIENCE", 0.5)
    jumphost, client = connect(keepalive_interval=0.1)
    ask(jumphost, client)
    client.session.probe()
    time.sleep(1.0)
    permitted.set()
    processes.wait_until(lambda: jumphost.key_exchanges == 2, what="a key exchange")
    time.sleep(0.3)

    jumphost.open(1)
    assert jumphost.violations == []


def test_one_that_then_hangs_is_left(
    connect: Callable[..., tuple[ScriptedJumphost, Client]],
    permitted: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The time that an exchange has begins with our answer."""
    monkeypatch.setattr(forward, "REKEY_PATIENCE", 0.5)
    jumphost, client = connect(keepalive_interval=0.1)
    assert jumphost.transport is not None
    over = threading.Event()
    alive = bytes((IGNORE,)) + string(b"")

    def hang(_: object) -> None:
        while not over.wait(0.02):
            jumphost.send(alive, wait=False)

    monkeypatch.setitem(jumphost.transport._handler_table, KEXINIT, hang)
    ask(jumphost, client)
    time.sleep(1.0)
    permitted.set()
    begin = time.monotonic()
    fault = client.lost().fault
    over.set()

    assert "did not finish a key exchange" in fault.message
    assert 0.4 < time.monotonic() - begin < 0.5 + SOON


def test_many_short_ones_are_none_that_hangs(
    connect: Callable[..., tuple[ScriptedJumphost, Client]],
    permitted: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whenever the timer looks there is one under way, and each has its own time."""
    monkeypatch.setattr(forward, "REKEY_PATIENCE", 1.5)
    permitted.set()
    jumphost, client = connect(keepalive_interval=60.0)
    assert jumphost.transport is not None
    answer, session = jumphost.transport._handler_table[KEXINIT], client.session

    def answer_late(*arguments: object) -> None:
        time.sleep(0.25)
        session._loop.post(lambda: session._on_timer(session._loop.now))
        time.sleep(0.05)
        answer(*arguments)

    monkeypatch.setitem(jumphost.transport._handler_table, KEXINIT, answer_late)
    for number in range(2, 10):
        jumphost.rekey()
        processes.wait_until(lambda n=number: jumphost.key_exchanges == n, what="a key exchange")  # type: ignore[misc]

    echo = jumphost.open(1)
    jumphost.send(data_message(echo, b"E" + bytes(8)))
    jumphost.send(data_message(echo, BLOCK[:100]))
    assert received(jumphost, 100) == BLOCK[:100]


def test_a_revoked_key_ends_the_session_meanwhile(
    connect: Callable[..., tuple[ScriptedJumphost, Client]], permitted: threading.Event
) -> None:
    jumphost, client = connect()
    ask(jumphost, client)
    file = client.paths.known_hosts
    file.write_text(file.read_text() + f"@revoked * {public_keys.encode(jumphost.host_key.asbytes())}\n")
    client.session.check_host_key()

    assert "(revoked)" in client.lost().fault.message
    assert not permitted.is_set()


def test_the_session_is_left_meanwhile(
    connect: Callable[..., tuple[ScriptedJumphost, Client]], permitted: threading.Event
) -> None:
    jumphost, client = connect()
    ask(jumphost, client)
    begin = time.monotonic()
    client.session.close()
    client.next(Closed)
    client.over = True

    assert time.monotonic() - begin < SOON
    assert not permitted.is_set()


def test_a_reset_ends_the_session_meanwhile(
    connect: Callable[..., tuple[ScriptedJumphost, Client]], permitted: threading.Event
) -> None:
    jumphost, client = connect()
    ask(jumphost, client)
    assert jumphost.transport is not None
    begin = time.monotonic()
    reset(jumphost.transport.sock)
    jumphost.transport.close()

    assert client.lost().unclean
    assert time.monotonic() - begin < SOON
    assert not permitted.is_set()


@pytest.mark.parametrize(
    ("kind", "amount"),
    [(None, 0), (DATA, 60_000), (IGNORE, 300_000)],
    ids=["nothing else", "with some data", "with more that is ignored"],
)
def test_new_keys_without_end(
    connect: Callable[..., tuple[ScriptedJumphost, Client]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: int | None,
    amount: int,
) -> None:
    """A jumphost that does little but ask for new keys gets its share of our CPU, and waits for the rest."""
    saved, share = 0.01, 0.02  # a share that the jumphost of this test can exceed
    monkeypatch.setattr(rekey_allowance, "SAVED", saved)
    monkeypatch.setattr(rekey_allowance, "SHARE", share)
    costs: list[float] = []
    spend = RekeyAllowance.spend

    def measured(allowance: RekeyAllowance, cost: float) -> None:
        costs.append(cost)
        spend(allowance, cost)

    monkeypatch.setattr(RekeyAllowance, "spend", measured)
    jumphost, client = connect(keepalive_interval=0.2)
    begin = time.monotonic()
    channel = jumphost.open(1, window=1 << 30)
    jumphost.send(data_message(channel, b"E" + bytes(8)))
    sent = 0
    while time.monotonic() < begin + 2.0 or jumphost.key_exchanges < 10:
        done = jumphost.key_exchanges
        for at in range(0, amount, 30_000):
            block = BLOCK[at % 900_000 :][:30_000]
            jumphost.send(data_message(channel, block) if kind == DATA else bytes((IGNORE,)) + string(block))
            sent += len(block) if kind == DATA else 0
        jumphost.rekey()
        processes.wait_until(lambda done=done: jumphost.key_exchanges > done, what="a key exchange")
    took = time.monotonic() - begin

    assert sum(costs) <= saved + share * took + sum(sorted(costs)[-3:])  # those of the last exchange
    assert len(received(jumphost, sent)) == sent
    assert client.counters.open == 1
    assert jumphost.violations == []
    assert sum("RekeyLimit" in line for line in caplog.messages) == 1
