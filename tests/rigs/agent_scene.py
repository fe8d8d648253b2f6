"""A jumphost, a database and a customer with one tunnel that is ready to go up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.rigs import processes
from tests.rigs.customer import Customer
from tests.rigs.database import pull

if TYPE_CHECKING:
    from pathlib import Path

    from tests.rigs import stub
    from tests.rigs.database import Database

    from ioconnect.config.paths import Paths


class AgentScene:
    """A jumphost, a database and a customer with one tunnel, `orders`, that is ready to go up."""

    def __init__(self, home: Path, rig: stub.StubRig, database: Database) -> None:
        self.rig = rig
        self.database = database
        self.ports: dict[str, int] = {}
        self.move_to(home)
        self.customer.keygen()
        self.add("orders")
        self.pin()

    def move_to(self, home: Path) -> None:
        """Go on with the customer's files in another folder."""
        self.customer = Customer(home)

    @property
    def paths(self) -> Paths:
        """Where the customer's files are."""
        return self.customer.paths

    def add(self, name: str, *, listen_port: int | None = None) -> int:
        """Register one more tunnel, which its jumphost permits; return its port there."""
        port = listen_port or processes.free_port()
        endpoint, target = f"{self.rig.host}:{port}", f"127.0.0.1:{self.database.port}"
        self.customer.register(name, endpoint, target, ssh_port=self.rig.port)
        self.ports[name] = port
        self.rig.authorize(self.paths.public_key.read_text(), port)
        return port

    def pin(self) -> None:
        """Trust the jumphost's key."""
        self.paths.known_hosts.write_text(self.rig.known_hosts_line + "\n")

    @property
    def port(self) -> int:
        """Where `orders` listens on the jumphost."""
        return self.ports["orders"]

    def port_of(self, name: str) -> int:
        """Where a tunnel listens on the jumphost."""
        return self.ports[name]

    def carries(self) -> bool:
        """Say whether 100 000 bytes of the database arrive whole, through `orders`."""
        return pull(self.port, 100_000)[0] == 100_000

    def port_is_freed(self) -> None:
        """Wait until the jumphost no longer listens for `orders`: it does for a moment after the agent has ended."""
        processes.wait_until(lambda: not processes.listens(self.port), deadline=2, what="the jumphost frees the port")

    def change(self, name: str, line: str) -> None:
        """Add a line to a tunnel's table in the configuration."""
        head = f"[tunnels.{name}]"
        self.paths.config.write_text(self.paths.config.read_text().replace(head, f"{head}\n{line}"))

    def log(self, needle: str) -> list[str]:
        """Return the daemon's lines with this in them."""
        return [line for line in self.customer.log_text().splitlines() if needle in line]
