"""`up` as others run it: process 1 of a container, where the kernel ignores TERM by default, and launchd's job."""

from __future__ import annotations

import os
import plistlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rigs.customer import Customer


def test_it_ends_on_term_and_leaves_nothing(customer: Customer, set_up: Callable[..., int], tmp_path: Path) -> None:
    if not Path("/proc/self/ns/pid").exists() or os.geteuid() != 0:
        pytest.skip("a process namespace needs Linux and root")
    unshare = processes.need_program("unshare", package="util-linux")
    port = set_up(processes.free_port())
    log = tmp_path / "log"
    outer = processes.start(
        [unshare, "--pid", "--fork", "--kill-child", "--mount-proc", *customer.command, "up"],
        log=log,
        env=customer.environment,
    )
    processes.wait_until(lambda: processes.listens(port), deadline=20, what="the tunnel is up")
    first, *others = processes.descendants(outer.pid)
    inside = Path(f"/proc/{first}/status").read_text().split("NSpid:")[1].splitlines()[0].split()

    os.kill(first, signal.SIGTERM)

    assert outer.wait(15) == 0, log.read_text()
    assert (inside[-1], others) == ("1", [])
    assert not processes.listens(port)


def test_launchds_job_stays_in_the_foreground_and_logs_for_itself(
    customer: Customer, set_up: Callable[..., int], tmp_path: Path
) -> None:
    """The words of the property list are run as they are: all of launchd that can be tried without a Mac."""
    port = set_up(processes.free_port())
    show = ("install-service", "--kind", "launchd-agent", "--print")
    job = plistlib.loads(customer.run(*show).encode())
    said = tmp_path / "said"
    process = processes.start(
        job["ProgramArguments"], log=said, env={"PATH": "/usr/bin:/bin", **job["EnvironmentVariables"]}
    )
    processes.wait_until(lambda: processes.listens(port), deadline=20, what="the tunnel is up")

    assert processes.end(process) == 0
    assert said.read_text() == ""
    assert "connected" in customer.log_text()
    assert Path(job["StandardErrorPath"]).parent == customer.home / "log"
