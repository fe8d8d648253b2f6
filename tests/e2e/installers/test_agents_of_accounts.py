"""What root's commands say of the agent that root has installed for another account, which cron starts."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from tests.rigs import ordinary_user
from tests.rigs.customer import Customer
from tests.rigs.ordinary_user import NOBODY
from tests.rigs.processes import end, wait_until

from ioconnect.config.paths import under
from ioconnect.installers import crontab
from ioconnect.installers.service import Service
from ioconnect.status import snapshots
from ioconnect.status.records import Snapshot, State, TunnelStatus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root installs for other accounts")

CONFIG = 'schema = 1\n[tunnels.orders]\nendpoint = "127.0.0.1:9"\ntarget = "localhost:9"\nssh_port = 9\n'
ROOTS = """
import pathlib
from ioconnect.installers import cron_jobs, installed
folder = pathlib.Path({folder!r})
cron_jobs.SPOOLS, cron_jobs.RECORDS = (folder / "spool",), folder / "records"
installed.UNITS = installed.DAEMONS = folder / "none"
from ioconnect.cli import main
main()
"""


class Machine(Customer):
    """Root's configuration, and a crontab of nobody with the block of a program that says what a test wants."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "home")
        self.run("keygen")
        (self.home / "config.toml").write_text(CONFIG)
        self.program = folder / "ioconnect"
        self.answer = folder / "answer"
        self.says(running=False, pid=None)
        self.program.write_text(f'#!/bin/sh\necho "$(id -u) $*" >&2\ncat {self.answer}\n')
        self.program.chmod(0o755)
        paths = under(self.home)
        service = Service(
            program=(str(self.program),), config=paths.config, home=folder, log=paths.log, run_as="nobody"
        )
        for name in ("records", "spool"):
            (folder / name).mkdir(mode=0o755)
            (folder / name / "nobody").write_bytes(crontab.block(service))
        self.command = [sys.executable, "-c", ROOTS.format(folder=str(folder))]
        self.line = f"-u nobody -- {self.program} --config {paths.config}"

    def says(self, *, running: bool, pid: int | None) -> None:
        tunnel = TunnelStatus(
            "orders", State.CONNECTED, "2026-01-01T00:00:00Z", None, "127.0.0.1:9", 9, "localhost:9"
        )
        found = Snapshot(running=running, pid=pid, version="0", started_at=None, tunnels=(tunnel,) if running else ())
        self.answer.write_text(json.dumps(snapshots.answer_to_json(found)))
        self.answer.chmod(0o644)


@pytest.fixture
def machine() -> Iterator[Machine]:
    with ordinary_user.folder(own=False) as folder:
        yield Machine(folder)


@contextlib.contextmanager
def process(uid: int) -> Iterator[int]:
    with subprocess.Popen(["sleep", "60"], user=uid, group=uid) as running:
        try:
            yield running.pid
        finally:
            running.kill()


def test_one_that_runs_is_shown(machine: Machine) -> None:
    with process(NOBODY) as pid:
        machine.says(running=True, pid=pid)
        status = machine.try_run("status")
        down = machine.try_run("down")
        down_one = machine.try_run("down", "orders", "--json")
        doctor = machine.try_run("doctor")
        tested = json.loads(machine.try_run("test", "--json").stdout)
        registered = machine.try_run("register", "stock", "--endpoint", "127.0.0.1:8", "--to", "localhost:8")

    who = f"the machine's agent (pid {pid}, account nobody, cron)"
    assert (status.returncode, f"This is {who}." in status.stderr) == (0, True), status.stderr
    assert "orders" in status.stdout
    assert (down.returncode, f"error: {who} goes on\n" in down.stderr) == (69, True), down.stderr
    assert f"{machine.line} down\n" in down.stderr
    assert f"{machine.line} down orders\n" in down_one.stderr
    assert (down_one.returncode, json.loads(down_one.stdout)["error"]["exit_code"]) == (69, 69)
    assert f"running: {who}" in doctor.stdout
    assert "has ioconnect's block for the account nobody" in doctor.stdout
    assert "after a restart of the machine" not in doctor.stdout
    assert [each["status"] for each in tested["checks"] if each["id"] == "forward"] == ["pass"]
    assert f"{machine.line} reload." in registered.stderr


def test_one_that_does_not_run_is_started_by_cron(machine: Machine) -> None:
    status = machine.try_run("status")
    registered = machine.try_run("register", "stock", "--endpoint", "127.0.0.1:8", "--to", "localhost:8")
    up = machine.try_run("up", "--daemon")

    assert status.returncode == 69
    said = " ".join(status.stdout.split())
    assert "agent not running; cron starts it as nobody within five minutes; to start it at once: " in said
    assert f"{machine.line} status" in said
    assert "start it: ioconnect up" not in status.stdout
    assert f"{machine.line} up --daemon." in registered.stderr
    assert (up.returncode, f"{machine.line} status" in up.stderr) == (71, True)


@pytest.mark.parametrize("arguments", [("reload",), ("reconnect",), ("reconnect", "orders")])
def test_a_change_is_told_by_the_account(machine: Machine, arguments: tuple[str, ...]) -> None:
    refused = machine.try_run(*arguments)

    assert refused.returncode == 69
    assert "as nobody" in refused.stderr
    assert f"{machine.line} {' '.join(arguments)}" in refused.stderr


def test_where_nothing_runs_nothing_is_to_stop(machine: Machine) -> None:
    assert machine.try_run("down").returncode == 0


def test_its_log_is_named(machine: Machine) -> None:
    """Root's own is empty, or that of an agent that root ran before."""
    (machine.home / "log").mkdir()
    for text in ("", "2026-01-01T00:00:00Z INFO an agent of root's\n"):
        (machine.home / "log" / "ioconnect.log").write_text(text)
        shown = machine.try_run("logs")

        assert (shown.returncode, shown.stdout) == (0, text)
        assert "runs as nobody. Its log: " in shown.stderr
        assert f"{machine.line} logs\n" in shown.stderr
        assert "There is no log yet" not in shown.stderr


def test_a_program_that_hangs_holds_root_up_for_five_seconds(machine: Machine) -> None:
    machine.program.write_text("#!/bin/sh\nexec sleep 60\n")
    began = time.monotonic()

    status = machine.try_run("status", "--check")

    assert (status.returncode, time.monotonic() - began < 9) == (69, True)


def test_a_status_that_is_watched_starts_a_program_every_few_seconds(machine: Machine) -> None:
    starts = machine.program.with_name("starts")
    starts.touch(mode=0o666)
    starts.chmod(0o666)
    with process(NOBODY) as pid:
        machine.says(running=True, pid=pid)
        machine.program.write_text(machine.program.read_text() + f"echo >>{starts}\n")
        with subprocess.Popen([*machine.command, "status", "--watch"], env=machine.environment) as watching:
            wait_until(lambda: starts.read_bytes() or None, deadline=20, what="it is asked")
            time.sleep(4)
            end(watching, by=signal.SIGINT)

    assert len(starts.read_bytes()) <= 2


@pytest.mark.parametrize("uid", [0, NOBODY - 1])
def test_no_account_names_the_process_of_another_as_its_agent(machine: Machine, uid: int) -> None:
    """Root trusts the files of the agent's account."""
    with process(uid) as pid:
        machine.says(running=True, pid=pid)

        assert machine.try_run("status").returncode == 69


@pytest.mark.parametrize("answer", ["", "{", "[" * 100_000, '{"schema": 1}', "null"])
def test_whatever_the_account_answers(machine: Machine, answer: str) -> None:
    machine.answer.write_text(answer)

    status = machine.try_run("status")

    assert (status.returncode, "within five minutes" in status.stdout) == (69, True), status.stderr
