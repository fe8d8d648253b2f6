"""What a later key exchange may change, and what it may not."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import struct
import threading
from typing import TYPE_CHECKING

import paramiko
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.rigs import processes
from tests.rigs.database import BLOCK, Database
from tests.rigs.scripted_jumphost import DATA, Client, ScriptedJumphost, data_message

from ioconnect.agent.session import pins_reader
from ioconnect.config.addresses import HostPort
from ioconnect.errors import ConfigInvalid
from ioconnect.keys import credentials, public_keys
from ioconnect.ssh.rekey_allowance import RekeyAllowance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ioconnect.config.paths import Paths
    from ioconnect.keys.known_hosts import Pins

CIPHERS = ("aes128-gcm@openssh.com", "aes256-ctr", "aes256-gcm@openssh.com", "aes128-ctr")
AMOUNT = 300_000


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Callable[..., tuple[ScriptedJumphost, Client]]]:
    """Return a function that makes a jumphost and a session with it that is up."""
    with contextlib.ExitStack() as ends:
        database = ends.enter_context(Database())

        def make(*, strict: bool = True) -> tuple[ScriptedJumphost, Client]:
            jumphost = ScriptedJumphost(ciphers=CIPHERS[:1], strict=strict)
            ends.callback(jumphost.close)
            client = Client(tmp_path, jumphost, HostPort("127.0.0.1", database.port))
            ends.callback(client.leave)
            client.connected()
            return jumphost, client

        yield make


def change_keys(jumphost: ScriptedJumphost) -> None:
    done = jumphost.key_exchanges
    jumphost.rekey()
    processes.wait_until(lambda: jumphost.key_exchanges > done, what="a key exchange")


@pytest.mark.parametrize("strict", [True, False], ids=["counted anew", "counted on"])
def test_another_cipher_each_time(connect: Callable[..., tuple[ScriptedJumphost, Client]], *, strict: bool) -> None:
    """From the tuned path to the generic one and back, in mid-stream: packets are counted right on both."""
    jumphost, client = connect(strict=strict)
    channel = jumphost.open(1, window=1 << 30)
    jumphost.send(data_message(channel, b"E" + bytes(8)))
    for cipher in (*CIPHERS[1:], *CIPHERS):
        assert jumphost.transport is not None
        jumphost.transport.get_security_options().ciphers = (cipher,)
        jumphost.send(data_message(channel, BLOCK[:30_000]))
        change_keys(jumphost)
        for at in range(30_000, AMOUNT, 30_000):
            jumphost.send(data_message(channel, BLOCK[at : at + 30_000]))
        got = b""
        while len(got) < AMOUNT:
            got += jumphost.next(DATA)[1][8:]

        assert got == BLOCK[:AMOUNT]
        assert jumphost.transport.remote_cipher == cipher
    assert jumphost.violations == []
    assert client.counters.open == 1


def test_another_host_key(connect: Callable[..., tuple[ScriptedJumphost, Client]]) -> None:
    """The pin holds on every exchange: a key that changes in mid-session ends it, before any byte under it."""
    jumphost, client = connect()
    channel = jumphost.open(1)
    jumphost.send(data_message(channel, b"S" + struct.pack(">Q", 1 << 30)))
    jumphost.next(DATA)
    other = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    assert jumphost.transport is not None
    jumphost.transport.add_server_key(paramiko.Ed25519Key.from_private_key(io.StringIO(other.decode())))
    jumphost.rekey()

    fault = client.lost().fault
    assert fault.code is not None
    assert fault.code.value == "host_key_changed"
    assert jumphost.key_exchanges == 1


def test_a_key_that_was_revoked_meanwhile(connect: Callable[..., tuple[ScriptedJumphost, Client]]) -> None:
    """The pins are read again at each key exchange."""
    jumphost, client = connect()
    file = client.paths.known_hosts
    file.write_text(file.read_text() + f"@revoked * {public_keys.encode(jumphost.host_key.asbytes())}\n")
    jumphost.rekey()

    fault = client.lost().fault
    assert fault.code is not None
    assert fault.code.value == "host_key_changed"
    assert "(revoked)" in fault.message
    assert "the pins have changed" in fault.message


def test_a_revoked_key_does_not_stay_because_the_machine_was_short_of_descriptors(
    connect: Callable[..., tuple[ScriptedJumphost, Client]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing asks for the pins again, neither a key exchange nor a reload: the session does by itself."""
    failures = [ConfigInvalid("cannot read the pinned host keys") for _ in range(3)]

    def load_pins(paths: Paths) -> Pins:
        if failures:
            raise failures.pop() from OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return credentials.load_pins(paths)

    monkeypatch.setattr(pins_reader, "RETRY_INTERVAL", 0.1)
    monkeypatch.setattr(pins_reader, "load_pins", load_pins)
    jumphost, client = connect()
    file = client.paths.known_hosts
    file.write_text(file.read_text() + f"@revoked * {public_keys.encode(jumphost.host_key.asbytes())}\n")
    client.session.check_host_key()

    assert "(revoked)" in client.lost().fault.message
    assert not failures


def test_pins_whose_disk_hangs_end_the_session(
    connect: Callable[..., tuple[ScriptedJumphost, Client]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may revoke its key."""
    hangs = threading.Event()

    def load_pins(paths: Paths) -> Pins:
        hangs.wait(20)
        return credentials.load_pins(paths)

    monkeypatch.setattr(pins_reader, "PATIENCE", 0.5)
    monkeypatch.setattr(pins_reader, "load_pins", load_pins)
    _, client = connect()
    client.session.check_host_key()

    assert "no answer for 0.5 s" in client.lost().fault.message
    hangs.set()


def test_what_an_exchange_costs(
    connect: Callable[..., tuple[ScriptedJumphost, Client]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its arithmetic is measured, and little of it: many exchanges beside data are no offence (RekeyLimit 1G)."""
    costs: list[float] = []
    monkeypatch.setattr(RekeyAllowance, "spend", lambda _, cost: costs.append(cost))
    jumphost, client = connect()
    channel = jumphost.open(1, window=1 << 30)
    jumphost.send(data_message(channel, b"E" + bytes(8)))
    for _ in range(20):
        for at in range(0, 300_000, 30_000):
            jumphost.send(data_message(channel, BLOCK[at : at + 30_000]))
        change_keys(jumphost)
    jumphost.next(DATA)

    assert 0.0002 < sum(costs) / 20 < 0.02
    assert client.counters.open == 1
