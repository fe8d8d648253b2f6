"""A path that swallows the source port of the lost connection, as some load balancers and stateful firewalls do.

A dial from that port is never answered; one from an ordinary port is. Real sshd, real links, in network namespaces.
"""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING

from tests.rigs import netns, processes

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tests.rigs.netns import HostCustomer

    Figure = Callable[[str], None]
    MakeJumphost = Callable[..., Any]


def swallowed(make_jumphost: MakeJumphost) -> tuple[Any, HostCustomer]:
    """Return a jumphost and a customer whose connection is swallowed from now on; nothing else is."""
    jumphost = make_jumphost("ClientAliveInterval 0", "TCPKeepAlive no")
    customer, _ = jumphost.connected(keepalive_interval=1)
    file = customer.home / "state" / "sources.json"
    processes.wait_until(file.exists, what=f"{file} is written")
    [(address, port, _peer)] = json.loads(file.read_text()).values()
    netns.Swallower(jumphost.host, address, port)
    return jumphost, customer


def noticed(customer: HostCustomer) -> float:
    """Wait until the agent knows; return when (time.monotonic)."""
    processes.wait_until(lambda: customer.tunnel()["state"] != "connected", deadline=10)
    return time.monotonic()


def test_a_swallowed_port_costs_seconds(make_jumphost: MakeJumphost, figure: Figure) -> None:
    jumphost, customer = swallowed(make_jumphost)
    processes.signal_all(jumphost.sshd.session_pids(), signal.SIGKILL)

    back = jumphost.host.wait_for_echo(jumphost.port, since=noticed(customer), deadline=60)

    figure(f"the source port swallowed by the path: back {back:.2f} s after the loss is known")
    assert back <= 8.0
    assert "from an ordinary source port" in customer.log_text()
    assert customer.tunnel()["reused_source_port"] is False


def test_a_swallowed_port_whose_dead_session_lives_on_is_a_standby(
    make_jumphost: MakeJumphost, figure: Figure
) -> None:
    jumphost, customer = swallowed(make_jumphost)
    dead = jumphost.sshd.session_pids()
    assert dead

    since = noticed(customer)
    customer.wait_for("standby", deadline=60)
    waited = time.monotonic() - since
    processes.signal_all(dead, signal.SIGKILL)
    back = jumphost.host.wait_for_echo(jumphost.port, since=time.monotonic(), deadline=10)

    figure(f"swallowed, and the port held: standby after {waited:.2f} s, back {back:.2f} s after the port is free")
    assert waited <= 8.0
    assert back <= 6.0
