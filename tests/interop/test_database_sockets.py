"""Real databases at their Unix sockets, through a real jumphost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes
from tests.rigs.mariadb import DATABASE, PASSWORD, USER

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rigs.customer import Customer
    from tests.rigs.mariadb import Mariadb
    from tests.rigs.postgres import Postgres
    from tests.rigs.sshd import Sshd

ROWS = 50_000


@pytest.fixture
def up_to(customer: Customer, sshd: Sshd) -> Callable[[str], int]:
    """Return a function that brings a tunnel to this target up and returns its port on the jumphost."""

    def up(target: str) -> int:
        port = processes.free_port()
        sshd.authorize(customer.keygen(), port)
        ssh = f"ssh -N -R {port}:{target.removeprefix('unix:')} -p {sshd.port} {sshd.user}@{sshd.host}"
        customer.run("register", "--paste", ssh)
        customer.run("pin", "--fingerprint", sshd.fingerprint)
        customer.run("up", "--daemon")
        return port

    return up


def target_check(customer: Customer) -> tuple[str, str]:
    """Return status and detail of the check of the target."""
    checks = json.loads(customer.try_run("test", "--json").stdout)["checks"]
    return next((each["status"], each["detail"]) for each in checks if each["id"] == "target")


def test_a_dump_of_mariadb_is_the_same_over_its_socket(
    up_to: Callable[[str], int], customer: Customer, mariadb: Mariadb
) -> None:
    """To the byte; the check names the server; and one that is down is known, and found again."""
    target = f"unix:{mariadb.socket}"
    password = PASSWORD.replace("'", "''")
    mariadb.administer(f"create or replace user {USER}@localhost identified by '{password}'")
    mariadb.administer(f"grant all on {DATABASE}.* to {USER}@localhost")
    mariadb.query(mariadb.port, f"create or replace table l as select seq id, sha2(seq, 512) t from seq_1_to_{ROWS}")
    port = up_to(target)

    assert mariadb.dump_sha256(port) == mariadb.dump_sha256(mariadb.port)
    assert customer.tunnel()["target"] == target
    status, detail = target_check(customer)
    assert (status, detail.partition(" ")[0]) == ("pass", "MariaDB")

    mariadb.stop()
    with pytest.raises(AssertionError):
        mariadb.query(port, "select 1")
    assert customer.tunnel()["target_state"]["state"] == "down"
    assert str(mariadb.socket) in customer.tunnel()["target_state"]["reason"]["message"]
    mariadb.start()
    assert mariadb.query(port, "select 1") == "1"
    assert customer.tunnel()["target_state"]["state"] == "up"


def test_pgbench_loses_nothing_over_the_socket(
    up_to: Callable[[str], int], customer: Customer, postgres: Postgres
) -> None:
    port = up_to(f"unix:{postgres.socket}")
    postgres.bench(port, "-i", "-s", "1", "-q")

    assert "number of failed transactions: 0 (" in postgres.bench(port, "-c", "8", "-T", "3")
    status, detail = target_check(customer)
    assert (status, detail.partition(" ")[0]) == ("pass", "PostgreSQL")
    assert customer.tunnel()["connections"]["failed"] == 0
