"""The data path with a real sshd under it: storms, crowds and readers that never read cost nobody else anything."""

from __future__ import annotations

import contextlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from tests.rigs import database, processes, storms
from tests.rigs.agent_session import AgentSession, Usage
from tests.rigs.database import Database

from ioconnect.agent.tunnel.events import Lost
from ioconnect.config.addresses import HostPort

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.rigs.customer import Customer
    from tests.rigs.sshd import Sshd

MIB = 1 << 20
BUDGET = 16 * MIB  # the least for 256 connections


@pytest.fixture
def target() -> Iterator[Database]:
    """A database that speaks bytes."""
    with Database() as listening:
        yield listening


def test_a_cancel_storm(customer: Customer, set_up: Callable[..., int], target: Database) -> None:
    """Readers that take a little and reset, sixteen at a time, beside a long transfer: its bytes are all there."""
    port = set_up(target.port)
    customer.run("up", "--daemon")

    assert storms.cancel_storm(customer, port, seconds=5) > 100


def test_3000_connections_one_after_another(customer: Customer, set_up: Callable[..., int]) -> None:
    """Memory, descriptors and threads stay what they were."""
    with storms.answering() as answering:
        port = set_up(answering)
        customer.run("up", "--daemon")

        storms.one_after_another(customer, port, count=3000)


def test_nothing_grows_with_the_connections(tmp_path: Path, sshd: Sshd, target: Database) -> None:
    """However many came and went, also those that were cut or refused: no container of the data path keeps any."""
    with AgentSession(tmp_path / "c", sshd, HostPort("127.0.0.1", target.port), max_connections=8) as agent:

        def idle() -> dict[str, int] | None:
            sizes = agent.sizes()
            return (
                sizes if sizes["relay.connections"] + sizes["relay._draining"] + sizes["relay.pending"] == 0 else None
            )

        def a_few_of_each() -> dict[str, int] | None:
            for _ in range(4):
                assert database.pull(agent.port, 100_000)[0] == 100_000
                connection = database.call(agent.port, b"S", 10 * MIB)
                assert connection.recv(1000)
                storms.reset(connection)
            processes.wait_until(idle, what="all are over")
            refused = agent.counters.refused + 4
            with contextlib.ExitStack() as too_many:
                for _ in range(12):
                    too_many.enter_context(socket.create_connection(("127.0.0.1", agent.port)))
                processes.wait_until(lambda: agent.counters.refused == refused, what="four are refused")
            return processes.wait_until(idle, what="all are over")

        before = a_few_of_each()
        for _ in range(30):
            after = a_few_of_each()

        assert after == before
        agent.reports.nothing_but_counters()


def test_fifty_that_never_read(customer: Customer, set_up: Callable[..., int], target: Database) -> None:
    """Neither the pipeline nor the database reads: memory stays within the budget, and everybody else flows."""
    port = set_up(target.port)
    config = customer.home / "config.toml"
    text = config.read_text()
    assert "[agent]" not in text
    config.write_text(text + f"\n[agent]\nbuffer_mib = {BUDGET // MIB}\n")
    customer.run("up", "--daemon")
    usage = Usage(customer.agent_pid())
    assert database.push(port, 16 * MIB)[0] == 16 * MIB
    before = usage.resident()

    with contextlib.ExitStack() as ends:
        stuck = [ends.enter_context(database.call(port, b"S", 1 << 40)) for _ in range(50)]
        written = storms.never_read(stuck)
        assert written > BUDGET  # the kernels hold the rest

        assert usage.resident() - before < BUDGET + storms.KEPT
        for _ in range(3):
            assert database.pull(port, 16 * MIB) == (16 * MIB, database.sha256_of(16 * MIB))
            got, digest, back = database.push(port, 16 * MIB, back=MIB)
            assert (got, digest) == (16 * MIB, database.sha256_of(16 * MIB))
            assert back == (MIB, database.sha256_of(MIB))
        assert usage.resident() - before < BUDGET + storms.KEPT
        processes.wait_until(lambda: customer.tunnel()["connections"]["open"] == 50, what="only the fifty are left")

    # sshd still holds what the pipelines wrote, so it cannot say that they left; the database ends it.
    for connection in target._connections:
        with contextlib.suppress(OSError):  # the others are over
            connection.shutdown(socket.SHUT_RDWR)
    storms.all_over(customer)


def drained(connection: socket.socket) -> int:
    """Read to the end, whatever it is, and return how much came."""
    count, buffer = 0, bytearray(1 << 18)
    with contextlib.suppress(ConnectionResetError):
        while got := connection.recv_into(buffer):
            count += got
    return count


def test_two_tunnels_in_one_process(tmp_path: Path, sshd: Sshd, target: Database) -> None:
    """A bulk transfer on one does not stop the other, and neither does its sudden end."""
    with AgentSession(tmp_path / "quick", sshd, HostPort("127.0.0.1", target.port)) as quick:
        with (
            ThreadPoolExecutor(1) as pool,
            AgentSession(tmp_path / "bulk", sshd, HostPort("127.0.0.1", target.port)) as bulk,
            database.call(bulk.port, b"S", 1 << 40) as transfer,
            database.call(quick.port, b"E") as pings,
        ):
            pulled = pool.submit(drained, transfer)
            took = []
            for number in range(300):
                before, begin = bulk.counters.from_target, time.monotonic()
                pings.sendall(number.to_bytes(8, "big"))
                assert database.exactly(pings, 8) == number.to_bytes(8, "big")
                took.append(time.monotonic() - begin)
                if number % 100 == 0:
                    processes.wait_until(
                        lambda before=before: bulk.counters.from_target > before + MIB,  # type: ignore[misc]
                        what="the transfer goes on",
                    )
            assert sorted(took)[len(took) // 2] < 0.1
            bulk.session.abort()
            bulk.reports.take(Lost)
            assert pulled.result(30) > 3 * MIB
            bulk.over = True
        assert database.pull(quick.port, MIB) == (MIB, database.sha256_of(MIB))
