"""`up` as process 1 of a container: it obeys TERM, which the kernel ignores there by default, and leaves cleanly."""

from __future__ import annotations

import os
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
