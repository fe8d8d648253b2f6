"""New keys all the time, whatever the cipher and whoever asks: no byte lost, no message where it must not be."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from tests.rigs import database, storms
from tests.rigs.agent_session import AgentSession
from tests.rigs.database import Database

from ioconnect.config import crypto
from ioconnect.config.addresses import HostPort
from ioconnect.config.configuration import AgentSettings
from ioconnect.ssh.rekey_allowance import SECONDS, RekeyAllowance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.rigs.sshd import Sshd

MIB = 1 << 20
EACH_WAY = 24 * MIB
STORMS = {
    "sshd, every MiB": (["RekeyLimit 1M"], "", 20),
    "sshd, every 16 MiB": (["RekeyLimit 16M"], "", 2),
    "ours": ([], "1000000", 10),
    "both": (["RekeyLimit 1M"], "900000", 20),
}
EARLY = {64: 32, 16: 16}  # after so many MiB new keys, so many times
CIPHERS = {
    "aes128-gcm": ["Ciphers aes128-gcm@openssh.com"],
    "aes256-gcm": ["Ciphers aes256-gcm@openssh.com"],
    "aes256-ctr, etm": ["Ciphers aes256-ctr", "MACs hmac-sha2-512-etm@openssh.com"],
    "aes128-ctr, etm": ["Ciphers aes128-ctr", "MACs hmac-sha2-256-etm@openssh.com"],
    "aes256-ctr, plain": ["Ciphers aes256-ctr", "MACs hmac-sha2-256"],
    "aes128-ctr, plain": ["Ciphers aes128-ctr", "MACs hmac-sha2-512"],
}


@pytest.fixture
def target() -> Iterator[Database]:
    """A database that speaks bytes."""
    with Database() as listening:
        yield listening


def pester(agent: AgentSession, over: threading.Event) -> int:
    """Probe the jumphost, open connections and close or reset them; return how many."""
    count = 0
    while not over.wait(0.005):
        agent.session.probe()
        connection = database.call(agent.port, b"S", 5000 * (count % 20))
        if count % 3:
            database.drain(connection)
            connection.close()
        else:
            storms.reset(connection)
        count += 1
    return count


def carry(agent: AgentSession, each_way: int) -> None:
    """Carry so many bytes both ways at once, on several connections, with unrest in the middle; all must be right."""
    whole = (each_way, database.sha256_of(each_way))
    over = threading.Event()
    with ThreadPoolExecutor(4) as pool:
        pest = pool.submit(pester, agent, over)
        try:
            pulled = pool.submit(database.pull, agent.port, each_way)
            pushed = pool.submit(database.push, agent.port, each_way, back=each_way)
            assert pulled.result(100) == whole
            got, digest, back = pushed.result(100)
            assert (got, digest) == back == whole
        finally:
            over.set()
        assert pest.result(30) > 3
    agent.reports.nothing_but_counters()


@pytest.mark.parametrize("limit", [pytest.param(64, marks=pytest.mark.long), 16])
def test_new_keys_sooner_than_we_answer(
    tmp_path: Path, make_sshd: Callable[..., Sshd], target: Database, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `RekeyLimit` that full throughput exceeds many times a second, each at 35 ms of CPU: slower, and not cut."""
    waits: list[float] = []
    delay = RekeyAllowance.delay

    def noted(allowance: RekeyAllowance, now: float) -> float:
        waits.append(delay(allowance, now))
        return waits[-1]

    monkeypatch.setattr(RekeyAllowance, "delay", noted)
    sshd = make_sshd(f"RekeyLimit {limit}M", "KexAlgorithms diffie-hellman-group16-sha512")
    amount = EARLY[limit] * limit * MIB
    whole = (amount, database.sha256_of(amount))
    with AgentSession(tmp_path / "c", sshd, HostPort("127.0.0.1", target.port)) as agent:
        assert database.pull(agent.port, amount) == whole
        carry(agent, EACH_WAY)

    assert exchanges(sshd) >= EARLY[limit]
    assert max(waits) < SECONDS
    assert limit > 16 or max(waits) > 0  # at 24 MB/s already


def exchanges(sshd: Sshd) -> int:
    """Return how many key exchanges sshd finished, the first included."""
    return sshd.log_text().count("SSH2_MSG_NEWKEYS received")


@pytest.mark.parametrize("storm", STORMS)
def test_a_rekey_storm(
    tmp_path: Path, make_sshd: Callable[..., Sshd], target: Database, storm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways under load, with opens, closes and probes in the middle of the exchanges."""
    lines, ours, at_least = STORMS[storm]
    if ours:
        monkeypatch.setenv("IOCONNECT_REKEY_BYTES", ours)
    sshd = make_sshd(*lines)
    with AgentSession(tmp_path / "c", sshd, HostPort("127.0.0.1", target.port)) as agent:
        carry(agent, EACH_WAY)

    assert exchanges(sshd) > at_least


@pytest.mark.parametrize("cipher", CIPHERS)
def test_whatever_cipher(
    tmp_path: Path, make_sshd: Callable[..., Sshd], target: Database, cipher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each cipher and each kind of MAC, through key exchanges that either side asked for."""
    monkeypatch.setenv("IOCONNECT_REKEY_BYTES", "3000000")
    sshd = make_sshd("RekeyLimit 4M", *CIPHERS[cipher])
    settings = AgentSettings(keepalive_interval=60.0, allowed_algorithms=crypto.ALLOWED)
    with AgentSession(tmp_path / "c", sshd, HostPort("127.0.0.1", target.port), settings=settings) as agent:
        transport = agent.session._transport
        assert transport is not None
        assert transport.local_cipher == transport.remote_cipher == CIPHERS[cipher][0].split()[1]
        tuned = transport.packetizer.outbound.sealer is not None and transport.packetizer.inbound.opener is not None
        assert tuned == ("gcm" in cipher)
        carry(agent, 8 * MIB)

    assert exchanges(sshd) > 3
