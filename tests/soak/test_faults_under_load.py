"""Minutes of faults under load: nothing leaks, and no transaction that a client was told of is missing.

`make soak` runs it for as long as you like. Real sshd, real PostgreSQL, pgbench through the
tunnel, and a fault every few seconds on the way or at the jumphost.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes
from tests.rigs.customer import QUIET, Customer
from tests.rigs.fault_relay import FaultRelay
from tests.rigs.storm_of_faults import Storm

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rigs.postgres import Postgres
    from tests.rigs.sshd import Sshd

CLIENTS = 4
WARM_UP = 0.25  # of the time: after that much of all this, what an agent needs it has
ROUND = 10  # seconds of one pgbench
MEMORY_NOISE = 1 << 20  # bytes; what an allocator's pages may differ between two idle moments
SCRIPTS = {
    "ledger.sql": "INSERT INTO ledger VALUES (:run, :client_id);\n",
    "bulk.sql": "SELECT repeat('x', 500000);\n",
}


@dataclass(frozen=True)
class Holdings:
    """What a process holds."""

    threads: int
    descriptors: int
    memory: int  # bytes resident

    @classmethod
    def of(cls, pid: int) -> Holdings:
        proc = Path("/proc", str(pid))
        pages = int((proc / "statm").read_text().split()[1])
        return cls(len(list((proc / "task").iterdir())), len(list((proc / "fd").iterdir())), pages * 4096)

    def __str__(self) -> str:
        return f"{self.threads} threads, {self.descriptors} descriptors, {self.memory / 1e6:.1f} MB"


class Bench:
    """pgbench through the tunnel, round after round; what it was told is in `committed`."""

    def __init__(self, postgres: Postgres, port: int, folder: Path) -> None:
        self.postgres, self.port, self.folder = postgres, port, folder
        self.committed: Counter[tuple[int, int]] = Counter()  # (run, client) → transactions reported as committed
        self.runs = 0
        for name, text in SCRIPTS.items():
            (folder / name).write_text(text)
        postgres.query(postgres.port, "CREATE TABLE ledger (run int, client int)")

    def run(self) -> None:
        """Run one round; that the faults end it early is the point."""
        processes.wait_until(lambda: processes.listens(self.port), deadline=60, what="the forward is back")
        self.runs += 1
        ledger, bulk = (str(self.folder / name) for name in SCRIPTS)
        log = self.folder / f"log{self.runs}"
        argv = [
            self.postgres.pgbench,
            "-n",
            "-c",
            str(CLIENTS),
            "-j",
            "2",
            "-T",
            str(ROUND),
            "-D",
            f"run={self.runs}",
        ]
        argv += ["-f", f"{ledger}@20", "-f", f"{bulk}@1", "--log", f"--log-prefix={log}"]
        processes.run([*argv, "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "postgres"], deadline=120)
        for file in self.folder.glob(f"{log.name}.*"):
            for line in file.read_text().splitlines():
                client, _, _, script, *_ = line.split()
                self.committed[self.runs, int(client)] += script == "0"
            file.unlink()

    def in_database(self) -> Counter[tuple[int, int]]:
        """Return what the database has, by the same key."""
        rows = self.postgres.query(self.postgres.port, "SELECT run, client, count(*) FROM ledger GROUP BY 1, 2")
        return Counter(
            {(int(run), int(client)): int(n) for run, client, n in (r.split("|") for r in rows.splitlines())}
        )


def settled(customer: Customer, pid: int) -> Holdings:
    """Return what the agent holds when it is connected and nothing goes on, which is so once that stays the same.

    A thread that answered, or wrote a file, may take a moment to end.
    """

    def idle() -> bool:
        tunnel = customer.tunnel()
        return tunnel["state"] == "connected" and not tunnel["connections"]["open"]

    def held() -> tuple[int, int]:
        now = Holdings.of(pid)
        return now.threads, now.descriptors

    processes.wait_until(idle, deadline=60, what="the agent is connected and idle", instead=customer.log_text)
    processes.wait_until_same(held, seconds=QUIET, deadline=30, what="threads and descriptors stay as they are")
    return Holdings.of(pid)


@pytest.mark.long
@pytest.mark.timeout(0)
def test_faults_under_load_leak_nothing_and_lose_nothing(
    tmp_path: Path, sshd: Sshd, postgres: Postgres, seconds: float, figure: Callable[[str], None]
) -> None:
    port = processes.free_port()
    customer = Customer(tmp_path / "home")
    with contextlib.ExitStack() as ends:
        relay = ends.enter_context(FaultRelay(sshd.port))
        ends.callback(customer.close)
        sshd.authorize(customer.run("keygen"), port)
        where = ("--endpoint", f"127.0.0.1:{port}", "--to", f"127.0.0.1:{postgres.port}")
        customer.run("register", *where, "--ssh-port", str(relay.port), "--ssh-user", sshd.user)
        (customer.home / "known_hosts").write_text(f"[127.0.0.1]:{relay.port} {sshd.host_key_line}\n")
        with (customer.home / "config.toml").open("a") as config:
            config.write("\n[agent]\nkeepalive_interval = 1\n")
        customer.run("up", "--daemon")
        pid = customer.agent_pid()
        bench = Bench(postgres, port, tmp_path)
        fresh = settled(customer, pid)

        under_faults(bench, Storm(relay, sshd, customer, seed=1), seconds * WARM_UP)
        warm = settled(customer, pid)
        storm = Storm(relay, sshd, customer, seed=2)
        under_faults(bench, storm, seconds * (1 - WARM_UP))
        end = settled(customer, pid)

        tunnel = customer.tunnel()
        told, stored = bench.committed, bench.in_database()
        figure(f"{seconds:.0f} s, {storm.faults.total()} faults after the warm-up: {dict(storm.faults)}")
        figure(f"fresh: {fresh}; warm: {warm}; at the end: {end}; reconnects: {tunnel['reconnects']}")
        figure(f"{bench.runs} rounds of pgbench: {told.total()} transactions told, {stored.total()} in the database")
        check_ledger(told, stored)
        assert told.total() > 100
        assert customer.agent_pid() == pid, "the agent ended on the way"
        assert (end.threads, end.descriptors) == (fresh.threads, fresh.descriptors)
        assert end.memory <= warm.memory + MEMORY_NOISE


def under_faults(bench: Bench, storm: Storm, seconds: float) -> None:
    """Run pgbench, round after round, while the storm blows."""
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            bench.run()
    finally:
        storm.abate()


def check_ledger(told: Counter[tuple[int, int]], stored: Counter[tuple[int, int]]) -> None:
    """Each client's every reported transaction is there; of the unreported at most the one that was under way."""
    lost = {key: (count, stored[key]) for key, count in told.items() if stored[key] < count}
    unexplained = {key: (told[key], count) for key, count in stored.items() if count > told[key] + 1}
    assert not lost, f"reported as committed, and not in the database: {lost}"
    assert not unexplained, f"in the database, and never reported, though the client went on: {unexplained}"
