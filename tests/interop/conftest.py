"""The customer's side of the interop tests: a machine with `ioconnect`, and tunnels by it or by OpenSSH."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

import pytest
from tests.rigs import processes
from tests.rigs.customer import Customer
from tests.rigs.openssh import OpensshTunnel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.rigs.sshd import Sshd


class OpenTunnel(Protocol):
    """Returns the port of 127.0.0.1 on the jumphost that now leads to this port of the customer's machine."""

    def __call__(self, target_port: int) -> int: ...


@pytest.fixture
def make_customer(tmp_path: Path) -> Iterator[Callable[[str], Customer]]:
    """Return a function that makes another customer's machine; its agent ends with the test."""
    with contextlib.ExitStack() as ends:

        def make(name: str) -> Customer:
            customer = Customer(tmp_path / name)
            ends.callback(customer.close)
            return customer

        yield make


@pytest.fixture
def customer(make_customer: Callable[[str], Customer]) -> Customer:
    """A customer's machine with nothing set up."""
    return make_customer("customer")


@pytest.fixture
def set_up(customer: Customer, sshd: Sshd) -> Callable[..., int]:
    """Return a function that makes key, registration and pin for one tunnel, and returns its port on the jumphost."""

    def make(target_port: int, *, name: str = "default") -> int:
        port = processes.free_port()
        sshd.authorize(customer.keygen(), port)
        endpoint, target = f"{sshd.host}:{port}", f"localhost:{target_port}"
        customer.register(name, endpoint, target, ssh_port=sshd.port, ssh_user=sshd.user)
        customer.run("pin", name, "--fingerprint", sshd.fingerprint)
        return port

    return make


@pytest.fixture(params=["openssh", "ioconnect"])
def open_tunnel(request: pytest.FixtureRequest, sshd: Sshd) -> Iterator[OpenTunnel]:
    """Open a tunnel with OpenSSH's client, then with ours: what we promise is what the yardstick does."""
    with contextlib.ExitStack() as ends:
        if request.param == "openssh":

            def by_openssh(target_port: int) -> int:
                tunnel = OpensshTunnel(sshd, processes.free_port(), target_port)
                ends.callback(tunnel.stop)
                tunnel.start()
                return tunnel.port

            yield by_openssh
        else:
            customer: Customer = request.getfixturevalue("customer")
            set_up: Callable[..., int] = request.getfixturevalue("set_up")

            def by_ioconnect(target_port: int) -> int:
                port = set_up(target_port)
                customer.run("up", "--daemon")
                return port

            yield by_ioconnect
