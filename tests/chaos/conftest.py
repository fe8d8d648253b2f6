"""A jumphost with the real sshd and customers' machines around it, each a network namespace."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from tests.rigs import netns, processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.rigs.database import Database


class Jumphost:
    """The jumphost's machine and sshd, with a customer on a cable of its own."""

    def __init__(self, folder: Path, ends: contextlib.ExitStack, *config: str) -> None:
        self.folder = folder
        self._ends = ends
        self.host = self.new_host("jump")
        self.customer_host = self.new_host("cust")
        self.cable = netns.Cable(self.host, self.customer_host, net="10.77.0")
        self.second_host = self.new_host("second")
        self.second_cable = netns.Cable(self.host, self.second_host, net="10.78.0")
        (folder / "sshd").mkdir()
        self.sshd = netns.HostSshd(self.host, folder / "sshd", "10.77.0.1", "10.78.0.1", config=config)
        ends.callback(self.sshd.stop)
        self.sshd.start()
        self.port = processes.free_port()
        self.first_target = ""

    def new_host(self, name: str) -> netns.Host:
        """Make a host that goes with the test."""
        host = netns.Host(name)
        self._ends.callback(host.remove)
        return host

    def database(self, host: netns.Host) -> Database:
        """Start a database on the host."""
        return self._ends.enter_context(netns.database_on(host))

    def customer(self, host: netns.Host | None = None, *, name: str = "home") -> netns.HostCustomer:
        """Return a customer's machine whose agent ends with the test."""
        customer = netns.HostCustomer(host or self.customer_host, self.folder / name)
        self._ends.callback(customer.close)
        return customer

    def move(self, customer: netns.HostCustomer, host: netns.Host) -> None:
        """Put the customer's disk into another machine, which must have been made before."""
        customer.live_on(host)
        self._ends.callback(customer.close)

    def connected(self, *options: str, **settings: float) -> tuple[netns.HostCustomer, Database]:
        """Return a customer whose tunnel is up, and the database; `options` are global ones of the command."""
        database = self.database(self.customer_host)
        customer = self.customer()
        self.first_target = f"localhost:{database.port}"
        customer.set_up(self.sshd, database.port, port=self.port)
        customer.tune(**settings)
        customer.run(*options, "up", "--daemon")
        assert self.host.echoes(self.port)
        self.sshd.wait_until_quiet()
        return customer, database


@pytest.fixture
def make_jumphost(tmp_path: Path) -> Iterator[Callable[..., Jumphost]]:
    """Return a function that makes the jumphost; its arguments are further lines of sshd_config(5)."""
    netns.need_root()
    with contextlib.ExitStack() as ends:
        yield lambda *config: Jumphost(tmp_path, ends, *config)
