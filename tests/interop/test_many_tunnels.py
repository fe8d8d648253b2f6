"""Fifty tunnels of one agent behind a real sshd that counts connections without a sign-in: none is turned away."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rigs.customer import Customer
    from tests.rigs.sshd import Sshd

TUNNELS = 50
DEFAULT = "MaxStartups 10:30:100"  # sshd_config(5)


class Fleet:
    """A customer with many tunnels to one sshd."""

    def __init__(self, customer: Customer, sshd: Sshd) -> None:
        self.customer, self.sshd = customer, sshd
        ports = [processes.free_port() for _ in range(TUNNELS)]
        sshd.authorize(customer.keygen(), *ports)
        common = f'target = "localhost:1"\nssh_port = {sshd.port}\nssh_user = "{sshd.user}"\n'
        blocks = (f'[tunnels.t{port}]\nendpoint = "{sshd.host}:{port}"\n{common}' for port in ports)
        customer.paths.config.write_text("schema = 1\n" + "".join(blocks))
        (customer.home / "known_hosts").write_text(f"{sshd.known_hosts_line}\n")

    def turned_away(self) -> int:
        """Return how many connections sshd has refused so far."""
        return self.sshd.log_text().count("drop connection")

    def wait_until_all_are_back(self, *, reconnects: int) -> float:
        """Return after how many seconds every tunnel has come back so often."""
        began = time.monotonic()

        def back() -> bool:
            tunnels = self.customer.status()["tunnels"]
            return all(each["state"] == "connected" and each["reconnects"] == reconnects for each in tunnels)

        processes.wait_until(back, deadline=40, what="all tunnels are back", instead=self.customer.log_text)
        return time.monotonic() - began

    def attempts(self) -> list[int]:
        """Return how often each tunnel has dialled."""
        return [tunnel["attempts"] for tunnel in self.customer.status()["tunnels"]]


@pytest.mark.alone
def test_fifty_tunnels_that_lose_their_sessions_at_once_are_back_and_none_was_turned_away(
    customer: Customer, make_sshd: Callable[..., Sshd], figure: Callable[[str], None]
) -> None:
    many = Fleet(customer, make_sshd(DEFAULT))
    began = time.monotonic()
    many.customer.run("up", "--daemon")
    started = time.monotonic() - began
    assert many.turned_away() == 0

    many.sshd.kill_sessions()
    killed = many.wait_until_all_are_back(reconnects=1)
    assert many.attempts() == [2] * TUNNELS

    many.sshd.restart()
    restarted = many.wait_until_all_are_back(reconnects=2)
    figure(
        f"{TUNNELS} tunnels behind {DEFAULT}: connected {started:.1f} s after `up`, back {killed:.1f} s after all "
        f"sessions were killed, {restarted:.1f} s after sshd was restarted, {many.turned_away()} turned away"
    )
    assert many.turned_away() == 0
    assert max(started, killed, restarted) < 20  # 5 on a quiet machine


@pytest.mark.long
def test_a_limit_for_each_source_that_is_lower_than_ours_is_found_out_and_kept(
    customer: Customer, make_sshd: Callable[..., Sshd], figure: Callable[[str], None]
) -> None:
    """The first few are turned away; all others come one by one."""
    many = Fleet(customer, make_sshd("MaxStartups 100", "PerSourceMaxStartups 4"))
    many.customer.run("up", "--daemon", "--wait", "40")
    figure(f"{TUNNELS} tunnels behind PerSourceMaxStartups 4: {many.turned_away()} turned away")
    assert many.turned_away() <= 8
