"""Draws docs/pictures/*.svg from what the commands really show: `sudo ./run python -m scripts.pictures`.

For Linux, as root: in mount and network namespaces of its own, where the jumphost of the vendor's page is the stub on
loopback, MariaDB is the database, and the customer's home is empty.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.rigs import processes
from tests.rigs.customer import Customer
from tests.rigs.mariadb import Mariadb
from tests.rigs.terminals import Terminal

from ioconnect.config.addresses import HostPort
from ioconnect.config.configuration import DEFAULT_SSH_PORT
from ioconnect.demo.database import Database, fetch
from ioconnect.keys.authorized_keys import parse_public_key
from ioconnect.stub import Stub
from scripts.screen import lines_shown, svg

if TYPE_CHECKING:
    from collections.abc import Iterator

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
JUMPHOST = "virginia-tunnel.flydata.app"
PORT, OTHER_PORT = 58115, 58116
INSIDE = "--inside"
TITLES = {"setup": "ioconnect setup orders", "test": "ioconnect test orders", "watch": "ioconnect status --watch"}
WIDTH = 100  # columns
TRAFFIC = (3, 9, 4, 14, 22, 19, 8, 2, 1, 6, 9, 17, 12, 7, 2, 3, 9, 4, 14, 22, 9, 2, 6, 3)  # MiB between two looks


def main() -> None:
    """Enter the namespaces, then draw."""
    if sys.argv[1:] != [INSIDE]:
        os.execvp("unshare", ["unshare", "-m", "-n", sys.executable, "-m", "scripts.pictures", INSIDE])  # noqa: S606, S607
    PICTURES.mkdir(exist_ok=True)
    with _site() as (customer, stub):
        _draw("setup", _setup(customer, stub))
        key = parse_public_key((customer.home / "id_ed25519.pub").read_text())
        _draw("watch", _watch(customer, stub))
        customer.run("down")
        customer.run("register", "orders", "--endpoint", f"{JUMPHOST}:{PORT}", "--to", "localhost:3306", "--force")
        stub.faults.revoke(key)
        _draw("test", _show(customer, "test", "orders"))


@contextlib.contextmanager
def _site() -> Iterator[tuple[Customer, Stub]]:
    """Yield a customer's machine, and the jumphost as the whole world around it."""
    processes.checked(["ip", "link", "set", "lo", "up"])
    with contextlib.ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory()))
        hosts = folder / "hosts"
        hosts.write_text(f"127.0.0.1 localhost\n127.0.0.1 {JUMPHOST}\n")
        processes.checked(["mount", "--bind", str(hosts), "/etc/hosts"])
        for hidden in ("/home", "/run"):
            processes.checked(["mount", "-t", "tmpfs", "tmpfs", hidden])
        Path("/run/systemd/system").mkdir(parents=True)  # a machine that systemd has booted, sd_booted(3)
        server = Mariadb()
        ends.callback(server.remove)
        server.port = 3306
        server.start()
        stub = ends.enter_context(Stub(HostPort("127.0.0.1", DEFAULT_SSH_PORT)))
        home = Path("/home/ann")
        home.mkdir()
        customer = Customer(home / ".ioconnect", HOME=str(home), COLUMNS=str(WIDTH), LINES="60")
        ends.callback(customer.close)
        yield customer, stub


def _setup(customer: Customer, stub: Stub) -> str:
    with Terminal([*customer.command, "setup", "orders"], env=customer.environment) as person:
        person.expect("Paste the Tunnel Endpoint")
        stub.jumphost.authorize(parse_public_key((customer.home / "id_ed25519.pub").read_text()))
        person.type(f"{JUMPHOST}:{PORT}")
        person.expect("Which is it?")
        person.type("")
        person.expect("Is this what Integrate.io told you?")
        person.type("yes")
        person.expect("Keep it running")
        person.type("n")
        person.leave(deadline=60)
        return person.seen


def _watch(customer: Customer, stub: Stub) -> str:
    """Show one tunnel at work, and one whose port somebody else holds."""
    with Database() as busy:
        target = f"localhost:{busy.port}"
        customer.run("register", "orders", "--endpoint", f"{JUMPHOST}:{PORT}", "--to", target, "--force")
        customer.run("register", "stock", "--endpoint", f"{JUMPHOST}:{OTHER_PORT}", "--to", "localhost:5432")
        stub.faults.hold_port(OTHER_PORT)
        customer.run("reload")
        customer.wait_for("connected", "orders")
        customer.wait_for("standby", "stock")
        with Terminal([*customer.command, "status", "--watch"], env=customer.environment) as person:
            for size in TRAFFIC:
                fetch(PORT, size << 20)
                person.expect("q leaves")  # once each time that it is drawn
            person.press("q")
            person.leave()
            return person.seen


def _show(customer: Customer, *arguments: str) -> str:
    with Terminal([*customer.command, *arguments], env=customer.environment) as person:
        person.leave(deadline=60)
        return person.seen


def _draw(name: str, seen: str) -> None:
    shown = lines_shown(seen)
    while shown and not shown[-1].strip():
        shown.pop()
    (PICTURES / f"{name}.svg").write_text(svg(shown, title=TITLES[name], width=WIDTH))
    sys.stderr.write(f"{PICTURES / name}.svg\n")


if __name__ == "__main__":
    main()
