"""The probe of a database that was down, against a real MariaDB that locks out who hangs up too often."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes

from ioconnect.agent.targets import target_connect
from ioconnect.agent.targets.target_addresses import TargetAddresses
from ioconnect.agent.targets.target_probe import MYSQL_PORT, TargetProbe
from ioconnect.config.addresses import HostPort
from ioconnect.ssh.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.rigs.mariadb import Mariadb

MOST_ERRORS = 5
PROBES = 200
# MariaDB never locks out 127.0.0.1 (sql/hostname.cc), but any other address of the loopback network.
PROBING, HANGING_UP = "127.0.0.5", "127.0.0.6"
GREETING = 10  # the protocol's version; an error begins with 255
BLOCKED = b"is blocked because of many connection errors"


@pytest.fixture
def strict(mariadb: Mariadb) -> Iterator[Mariadb]:
    """The server, with little patience."""
    before = mariadb.administer("select @@global.max_connect_errors")
    mariadb.administer(f"set global max_connect_errors = {MOST_ERRORS}")
    for source in (PROBING, HANGING_UP):  # a host that no user may come from is turned away before the handshake
        mariadb.administer(f"create or replace user someone@'{source}' identified by 'secret'")
    mariadb.administer("flush hosts")
    yield mariadb
    mariadb.administer(f"set global max_connect_errors = {before}; flush hosts")


@pytest.fixture
def probe_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, int], list[str]]]:
    """Return a function that runs one probe from PROBING to its end, and returns its calls.

    Its arguments are the server's port, and the port that the configuration says.
    """

    class Bound(socket.socket):
        def connect_ex(self, address: object) -> int:
            if self.getsockname()[1] == 0:
                self.bind((PROBING, 0))
            return super().connect_ex(address)  # type: ignore[arg-type]

    loop = Loop()

    def run(port: int, configured: int) -> list[str]:
        calls: list[str] = []
        probe = TargetProbe(
            TargetAddresses(HostPort("127.0.0.1", port), loop),
            loop,
            configured,
            answered=lambda: calls.append("answered"),
            refused=lambda why, _codes: calls.append(why),
            done=lambda: calls.append("done"),
        )
        loop.on_timer = probe.expire
        monkeypatch.setattr(target_connect.socket, "socket", Bound)
        probe.begin()
        while "done" not in calls:
            loop.run_once(20)
        monkeypatch.undo()
        return calls

    yield run
    loop.close()


def greeting(mariadb: Mariadb, source: str) -> bytes:
    """Return what the server says to whom connects from `source`, which then hangs up."""
    with socket.create_connection(("127.0.0.1", mariadb.port), timeout=20, source_address=(source, 0)) as connection:
        return connection.recv(4096)


@pytest.mark.parametrize("configured", [MYSQL_PORT, None], ids=["on its port", "by its greeting"])
def test_probes_do_not_lock_this_machine_out(
    strict: Mariadb, probe_once: Callable[[int, int], list[str]], configured: int | None
) -> None:
    assert BLOCKED not in greeting(strict, HANGING_UP)
    # The server counts a hang-up when it notices it, which may be after the next connection.
    processes.wait_until(lambda: BLOCKED in greeting(strict, HANGING_UP), what="hanging up locks an address out")

    for _ in range(PROBES):
        assert probe_once(strict.port, configured or strict.port) == ["answered", "done"]

    assert greeting(strict, PROBING)[4] == GREETING
    assert strict.query(strict.port, "select 1") == "1"
