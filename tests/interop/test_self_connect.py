"""A database that is down at a port which the kernel also gives to clients: TCP connects them to themselves."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING

import pytest
from tests.rigs.netns import Host

from ioconnect.agent.targets.target_addresses import TargetAddresses
from ioconnect.agent.targets.target_connect import TargetConnect
from ioconnect.checks import target_check
from ioconnect.config.addresses import HostPort
from ioconnect.demo import database
from ioconnect.errors import TargetUnreachable
from ioconnect.ssh.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PORT = 20_000


@pytest.fixture
def host() -> Iterator[Host]:
    """A host that has no other port than the database's to give to a client."""
    made = Host("self")
    made.run("sysctl", "-q", "-w", f"net.ipv4.ip_local_port_range={PORT} {PORT}")
    with made.entered():
        yield made
    made.remove()


def by_the_agent() -> None:
    """Connect as the agent does for a pipeline, and for its probe."""

    class Connect(TargetConnect):
        def connected(self, sock: socket.socket) -> None:
            sock.close()
            outcomes.append("connected")

        def failed(self, why: str, _codes: frozenset[int]) -> None:
            outcomes.append(why)

    outcomes: list[str] = []
    with contextlib.closing(Loop()) as loop:
        Connect(TargetAddresses(HostPort("127.0.0.1", PORT), loop), loop).begin()
        deadline = time.monotonic() + 20
        while not outcomes and time.monotonic() < deadline:
            loop.run_once(1)
    assert outcomes == ["127.0.0.1: Connection refused"]


def by_the_check() -> None:
    """Connect as `test` does."""
    with pytest.raises(TargetUnreachable, match="nothing listens on"):
        target_check.check(HostPort("127.0.0.1", PORT))


def by_the_demo() -> None:
    """Connect as `demo` does."""
    with pytest.raises(ConnectionRefusedError):
        database.ping(PORT)


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("connects", [by_the_agent, by_the_check, by_the_demo])
def test_it_is_refused_and_the_database_can_start(connects: Callable[[], None]) -> None:
    with socket.socket() as client:
        client.connect(("127.0.0.1", PORT))
        assert client.getsockname() == client.getpeername()  # the kernel does that
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    connects()

    with socket.socket() as server:  # without SO_REUSEADDR: no TIME_WAIT keeps it from starting
        server.bind(("127.0.0.1", PORT))
