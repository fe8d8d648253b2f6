"""A database's name with a first address that drops everything: the real command and sshd on a host of its own."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes
from tests.rigs.database import call, exactly
from tests.rigs.netns import Host, HostCustomer, HostSshd, database_on

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "database.test"
SILENT, ANSWERS = "fd00:99::5", "127.0.0.1"  # in the order of RFC 6724


@pytest.fixture
def host() -> Iterator[Host]:
    """A host that knows two addresses for the name, of which the first is behind a firewall that drops."""
    made = Host("eyeballs")
    files = Path("/etc/netns", made.name)  # ip-netns(8): seen as /etc by what is run there
    try:
        files.mkdir(parents=True)
        (files / "hosts").write_text(f"127.0.0.1 localhost\n{SILENT} {NAME}\n{ANSWERS} {NAME}\n")
        made.ip("address", "add", f"{SILENT}/128", "dev", "lo", "nodad")
        nft = processes.need_program("nft", package="nftables")
        for rule in (
            "add table ip6 filter",
            "add chain ip6 filter in { type filter hook input priority 0 ; }",
            f"add rule ip6 filter in ip6 daddr {SILENT} drop",
        ):
            made.run(nft, *rule.split())
        yield made
    finally:
        shutil.rmtree(files)
        made.remove()


def echoed(host: Host, port: int) -> float:
    """Return the seconds until a new connection's first byte came back from the database."""
    began = time.monotonic()
    with host.entered(), call(port, b"E") as connection:
        connection.sendall(b"!")
        assert exactly(connection, 1) == b"!"
    return time.monotonic() - began


@pytest.mark.alone
def test_a_silent_first_address(host: Host, tmp_path: Path) -> None:
    """The first connection pays 250 ms, the others nothing; `test` finds the database too; no descriptor is left."""
    (tmp_path / "sshd").mkdir()
    sshd = HostSshd(host, tmp_path / "sshd", ANSWERS)
    customer = HostCustomer(host, tmp_path / "customer")
    port = processes.free_port()

    def descriptors_when_all_are_closed() -> int:
        processes.wait_until(lambda: customer.tunnel()["connections"]["open"] == 0, what="all are closed")
        return len(list(Path("/proc", str(customer.agent_pid()), "fd").iterdir()))

    try:
        sshd.start()
        with database_on(host) as database:
            customer.set_up(sshd, database.port, port=port)
            config = customer.home / "config.toml"
            config.write_text(config.read_text().replace("localhost:", f"{NAME}:"))
            checks = {each["id"]: each for each in json.loads(customer.run("test", "--json"))["checks"]}
            customer.run("up", "--daemon")
            first = echoed(host, port)
            others = sorted(echoed(host, port) for _ in range(9))
            descriptors = descriptors_when_all_are_closed()
            for _ in range(9):
                echoed(host, port)

            assert descriptors_when_all_are_closed() == descriptors
        assert 0.25 <= first < 2
        assert others[4] < 0.2
        assert customer.tunnel()["connections"]["failed"] == 0
        assert checks["target"]["status"] in {"pass", "warn"}
        assert f"({ANSWERS})" in checks["target"]["detail"]
    finally:
        customer.close()
        sshd.stop()
