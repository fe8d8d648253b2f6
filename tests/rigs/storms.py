"""Crowds of pipelines, orderly and not, through an agent that must not notice: the same for seconds and for hours."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.rigs import database, processes
from tests.rigs.agent_session import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rigs.customer import Customer

MIB = 1 << 20
READERS = 16
LONG = 64 * MIB  # the transfer beside a storm
NOISE = 2 * MIB  # that a process differs by between two idle moments
# glibc keeps up to twice the largest block that was ever freed (mallopt(3), M_MMAP_THRESHOLD): a window or two.
KEPT = 12 * MIB
RESET = struct.pack("ii", 1, 0)  # SO_LINGER, 0 s
QUIET = 0.5  # seconds without room in any socket: nobody reads


def reset(connection: socket.socket) -> None:
    """Close with a reset, as an aborted query does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.close()


def all_over(customer: Customer) -> None:
    """Wait until no connection is open; the session must be the first one still."""
    processes.wait_until(lambda: customer.tunnel()["connections"]["open"] == 0, deadline=30, what="all are over")
    seen = customer.tunnel()
    assert (seen["state"], seen["reconnects"]) == ("connected", 0), customer.log_text()[-4000:]


class Before:
    """What an agent held before a storm, to be held against what it holds after."""

    def __init__(self, customer: Customer) -> None:
        all_over(customer)
        self._usage = Usage(customer.agent_pid())
        self._descriptors = self._usage.descriptors()
        self._threads = self._usage.threads()
        self._resident = self._usage.resident()

    def still_holds(self, customer: Customer, *, slack: int) -> int:
        """Assert that nothing stayed: no descriptor, no thread, and of memory no more than `slack`; return that."""
        all_over(customer)
        usage = self._usage
        processes.wait_until(
            lambda: len(usage.descriptors()) <= len(self._descriptors),
            what=f"the agent has no more descriptors than {self._descriptors}",
            instead=usage.descriptors,
        )
        processes.wait_until(lambda: usage.threads() <= self._threads, what="the agent's threads end")
        grown = usage.resident() - self._resident
        assert grown <= slack
        return grown


def _cancel(port: int, until: float, number: int) -> int:
    """Read a little of a large stream and reset, again and again; return how often."""
    count = 0
    while time.monotonic() < until:
        connection = database.call(port, b"S", LONG)
        for _ in range((count + number) % 5):
            assert connection.recv(1 + 9973 * number)
        reset(connection)
        count += 1
    return count


def cancel_storm(customer: Customer, port: int, *, seconds: float) -> int:
    """Sixteen readers at a time cancel, beside a long transfer each way; return how many cancellations it were."""
    _cancel(port, time.monotonic() + 0.5, 1)
    assert database.pull(port, LONG) == (LONG, database.sha256_of(LONG))
    before = Before(customer)
    until = time.monotonic() + seconds
    with ThreadPoolExecutor(READERS + 2) as pool:
        readers = [pool.submit(_cancel, port, until, number) for number in range(READERS)]
        while time.monotonic() < until:
            pulled = pool.submit(database.pull, port, LONG)
            pushed = pool.submit(database.push, port, LONG)
            assert pulled.result(120) == (LONG, database.sha256_of(LONG))
            assert pushed.result(120)[:2] == (LONG, database.sha256_of(LONG))
        count = sum(reader.result(60) for reader in readers)
    before.still_holds(customer, slack=KEPT)
    return count


@contextlib.contextmanager
def answering() -> Iterator[int]:
    """Yield the port of a database that answers one question a connection, one after another, and keeps no books."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):  # the listener was shut down
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(connection.recv(64))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        listener.close()


def one_after_another(customer: Customer, port: int, *, count: int) -> int:
    """Ask one question a connection, `count` times; return by how many bytes the agent grew, which must be few."""

    def ask(times: int) -> None:
        for number in range(times):
            question = struct.pack(">Q", number)
            with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                connection.sendall(question)
                assert database.exactly(connection, 8) == question

    ask(300)
    before = Before(customer)
    ask(count)
    return before.still_holds(customer, slack=NOISE)


def never_read(connections: list[socket.socket]) -> int:
    """Write to all of them until nobody takes more, reading nothing; return how many bytes that were."""
    total = 0
    with selectors.DefaultSelector() as waiting:
        for connection in connections:
            connection.setblocking(False)
            waiting.register(connection, selectors.EVENT_WRITE)
        while ready := waiting.select(QUIET):
            for key, _ in ready:
                with contextlib.suppress(BlockingIOError):
                    total += key.fileobj.send(database.BLOCK)  # type: ignore[union-attr]
    return total
