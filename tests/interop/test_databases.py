"""Real databases through a real jumphost."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.interop.conftest import OpenTunnel
    from tests.rigs.mariadb import Mariadb
    from tests.rigs.postgres import Postgres

ROWS = 100_000


def test_pgbench_loses_nothing(open_tunnel: OpenTunnel, postgres: Postgres) -> None:
    """Eight clients for five seconds: no failed transaction, and the books balance."""
    port = open_tunnel(postgres.port)

    postgres.bench(port, "-i", "-s", "2", "-q")
    report = postgres.bench(port, "-c", "8", "-T", "5")

    assert "number of failed transactions: 0 (" in report
    done = int(report.partition("actually processed: ")[2].split()[0])
    assert done > 0
    sums = "(select sum(abalance) from pgbench_accounts), (select sum(delta) from pgbench_history), count(*)"
    accounts, history, count = postgres.query(postgres.port, f"select {sums} from pgbench_history").split("|")
    assert accounts == history
    assert int(count) == done


def test_a_dump_is_the_same_dump(open_tunnel: OpenTunnel, mariadb: Mariadb) -> None:
    """A dump through the tunnel equals the direct one, to the byte."""
    port = open_tunnel(mariadb.port)
    make = f"create or replace table line as select seq id, sha2(seq, 512) text from seq_1_to_{ROWS}"
    mariadb.query(port, make)

    direct = mariadb.dump_sha256(mariadb.port)
    through = mariadb.dump_sha256(port)

    assert mariadb.query(port, "select count(*), max(id) from line") == f"{ROWS}\t{ROWS}"
    assert direct[0] > ROWS * 128
    assert through == direct
