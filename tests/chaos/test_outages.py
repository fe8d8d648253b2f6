"""What the network does to a tunnel, and how fast it is back: real sshd, real links, in network namespaces.

Every figure is from the moment that the fault is over (or, where it says so, begins) to the first byte that the
database echoes through the forward.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import time
from typing import TYPE_CHECKING

import pytest
from tests.rigs import netns, processes
from tests.rigs.database import call

from ioconnect.agent.network.network_monitor import monitoring

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tests.rigs.netns import HostCustomer

    Figure = Callable[[str], None]
    MakeJumphost = Callable[..., Any]

HASTY = {"keepalive_interval": 2}  # where the time to notice is not what is measured


@pytest.mark.long
def test_the_cable_out_for_thirty_seconds(make_jumphost: MakeJumphost, figure: Figure) -> None:
    jumphost = make_jumphost()
    customer, _ = jumphost.connected()
    before = customer.tunnel()["attempts"]

    jumphost.cable.pull()
    end = time.monotonic() + 30
    lost = customer.wait_for("backoff", deadline=25)
    processes.wait_until(lambda: time.monotonic() > end, deadline=31)
    attempts = customer.tunnel()["attempts"] - before
    plugged = jumphost.cable.plug()
    back = jumphost.host.wait_for_echo(jumphost.port, since=plugged, deadline=10)

    figure(f"cable out for 30 s: forward back {back:.2f} s after it is in again; {attempts} dials meanwhile")
    assert back <= 2.0
    assert lost["reason"]["code"] in {"keepalive_timeout", "connection_lost", "unreachable"}
    assert attempts <= 40


@pytest.mark.long
def test_the_jumphost_is_back_after_twenty_seconds(make_jumphost: MakeJumphost, figure: Figure) -> None:
    jumphost = make_jumphost()
    customer, _ = jumphost.connected()
    before = customer.tunnel()["attempts"]

    jumphost.sshd.stop()
    end = time.monotonic() + 20
    customer.wait_for("backoff")
    processes.wait_until(lambda: time.monotonic() > end, deadline=21)
    attempts = customer.tunnel()["attempts"] - before
    jumphost.sshd.start()
    back = jumphost.host.wait_for_echo(jumphost.port, since=time.monotonic(), deadline=10)

    figure(f"jumphost restarted after 20 s: back {back:.2f} s after it listens; {attempts} dials meanwhile")
    assert back <= 5.0
    assert 2 <= attempts <= 40


@pytest.mark.alone
@pytest.mark.long  # with a short interval: test_bad_network.py::test_a_black_hole_is_noticed_by_the_keepalive
def test_a_frozen_peer_is_noticed_and_the_database_is_told(make_jumphost: MakeJumphost, figure: Figure) -> None:
    """TCP is alive and nobody answers: the default keepalive, 10 seconds and one probe."""
    jumphost = make_jumphost()
    customer, database = jumphost.connected()
    with jumphost.host.entered():
        talk = call(jumphost.port, b"E")
    with talk:
        processes.wait_until(lambda: customer.tunnel()["connections"]["open"] == 1)
        told = len(database.endings)

        jumphost.sshd.freeze_sessions()
        frozen = time.monotonic()
        processes.wait_until(lambda: database.endings[told:] == ["reset"], deadline=25)
        noticed = time.monotonic() - frozen

        jumphost.sshd.kill_sessions()
    figure(f"frozen peer: noticed, and the database's connection reset, after {noticed:.1f} s")
    assert noticed <= 20.5  # the promise is 20 s; the rest is the busy machine's
    jumphost.host.wait_for_echo(jumphost.port, since=time.monotonic(), deadline=10)


def test_an_unclean_cut_leaves_a_dead_session_that_our_own_port_ends(
    make_jumphost: MakeJumphost, figure: Figure
) -> None:
    """Nothing tells the jumphost, and its sshd never asks: the dead session would hold the port for hours."""
    jumphost = make_jumphost("ClientAliveInterval 0", "TCPKeepAlive no")
    customer, _ = jumphost.connected(**HASTY)

    jumphost.cable.pull()
    customer.wait_for("backoff")
    assert jumphost.sshd.session_pids(), "the dead session must be there, or this test shows nothing"
    plugged = jumphost.cable.plug()
    back = jumphost.host.wait_for_echo(jumphost.port, since=plugged, deadline=10)

    figure(f"unclean cut, the port held by a dead session: back {back:.2f} s after the path is")
    assert back <= 2.0


@pytest.mark.parametrize("seconds", [3, pytest.param(15, marks=pytest.mark.long)])
def test_a_black_hole_behind_a_nat(make_jumphost: MakeJumphost, figure: Figure, seconds: float) -> None:
    """No link of ours goes down, no address changes: only silence tells; and the dead session holds the port.

    The keepalive is a second, as noticing is not what is measured.
    """
    jumphost = make_jumphost("ClientAliveInterval 0", "TCPKeepAlive no")
    home = jumphost.new_host("home")
    lan = netns.Cable(jumphost.customer_host, home, net="10.88.0")
    home.ip("route", "add", "default", "via", "10.88.0.1")
    nat = netns.Nat(jumphost.customer_host, outside=jumphost.cable.ends[1])
    database = jumphost.database(home)
    customer = jumphost.customer(home)
    customer.set_up(jumphost.sshd, database.port, port=jumphost.port)
    customer.tune(keepalive_interval=1)
    customer.run("up", "--daemon")
    assert lan.net in source_of(customer)

    nat.cut()
    end = time.monotonic() + seconds
    processes.wait_until(lambda: customer.tunnel()["state"] != "connected", deadline=25)
    processes.wait_until(lambda: time.monotonic() > end, deadline=seconds + 1)
    assert jumphost.sshd.session_pids(), "the dead session must be there, or this test shows nothing"
    back = jumphost.host.wait_for_echo(jumphost.port, since=nat.heal(), deadline=15)

    figure(f"a black hole for {seconds} s, behind a NAT, the port held: back {back:.2f} s after it is gone")
    assert back <= 2.0


def source_of(customer: HostCustomer) -> str:
    """Return what is remembered of our end of the connection; it is written a moment after `connected` is shown."""
    file = customer.home / "state" / "sources.json"
    processes.wait_until(file.exists, what=f"{file} is written")
    return file.read_text()


@pytest.mark.parametrize("remembered", [True, False])
def test_power_loss(make_jumphost: MakeJumphost, figure: Figure, *, remembered: bool) -> None:
    """No FIN, no RST: the machine is gone, with its kernel, and comes back with the same address and disk.

    Once more without its memory, to show that it is the memory that helps.
    """
    jumphost = make_jumphost("ClientAliveInterval 0", "TCPKeepAlive no")
    customer, _ = jumphost.connected()
    assert "10.77.0.1" in source_of(customer)

    power_off(jumphost, customer)
    assert jumphost.sshd.session_pids(), "the dead session must be there, or this test shows nothing"
    reborn = jumphost.new_host("reborn")
    reborn.draw_other_ports()
    again = netns.Cable(jumphost.host, reborn, net="10.77.0")
    assert again.net == jumphost.cable.net
    database = jumphost.database(reborn)
    jumphost.move(customer, reborn)
    config = customer.home / "config.toml"
    config.write_text(config.read_text().replace(jumphost.first_target, f"localhost:{database.port}"))
    if not remembered:
        (customer.home / "state" / "sources.json").unlink()
        customer.run("up", "--daemon", "--wait", "2", expect=75)
        assert customer.tunnel()["state"] == "standby"
        return
    started = time.monotonic()
    customer.run("up", "--daemon", "--wait", "5")
    back = jumphost.host.wait_for_echo(jumphost.port, since=started, deadline=5)

    figure(f"power lost, the port held by the dead session: back {back:.2f} s after the command to start")
    assert customer.tunnel()["attempts"] == 1
    assert back <= 2.0


def power_off(jumphost: Any, customer: HostCustomer) -> None:
    """End the machine: the cable first, so that nothing of its last words gets out."""
    jumphost.cable.remove()
    os.kill(customer.agent_pid(), signal.SIGKILL)


@pytest.mark.long
def test_another_address_waits_signed_in_until_the_jumphost_lets_go(
    make_jumphost: MakeJumphost, figure: Figure
) -> None:
    """The old source port is of no use at a new address: stay signed in, ask again and again, cost nothing."""
    jumphost = make_jumphost("ClientAliveInterval 0", "TCPKeepAlive no")
    customer, _ = jumphost.connected(**HASTY)
    dead_session = jumphost.sshd.session_pids()
    host, end = jumphost.customer_host, jumphost.cable.ends[1]

    host.ip("address", "del", "10.77.0.2/24", "dev", end)
    host.ip("address", "add", "10.77.0.3/24", "dev", end)
    waiting = customer.wait_for("standby", deadline=15)
    assert waiting["reason"]["code"] == "port_busy"
    end_of_watch = time.monotonic() + 8
    processes.wait_until(lambda: time.monotonic() > end_of_watch, deadline=9)
    still = customer.tunnel()
    assert (still["state"], still["attempts"]) == ("standby", waiting["attempts"])
    processes.signal_all(dead_session, signal.SIGKILL)
    freed = time.monotonic()
    back = jumphost.host.wait_for_echo(jumphost.port, since=freed, deadline=10)

    figure(f"address changed, the port held: standby on one session, back {back:.2f} s after it is free")
    assert back <= 5.0
    assert customer.tunnel()["attempts"] == waiting["attempts"]


@pytest.mark.alone
def test_only_a_change_of_our_own_route_is_a_probe_and_that_at_once(
    make_jumphost: MakeJumphost, figure: Figure
) -> None:
    """A keepalive of a minute: only the kernel's news can be what made the agent ask."""
    jumphost = make_jumphost()
    customer, _ = jumphost.connected("-v", keepalive_interval=60)
    host, end = jumphost.customer_host, jumphost.cable.ends[1]
    answered = processes.wait_until(lambda: customer.tunnel()["rtt_ms"])
    reports: queue.SimpleQueue[object] = queue.SimpleQueue()

    def probes() -> int:
        return jumphost.sshd.log_text().count("keepalive@openssh.com")

    with contextlib.ExitStack() as ends:
        with host.entered():
            ends.enter_context(monitoring(reports.put))  # as the agent's own: it reports at the same time
        with contextlib.suppress(queue.Empty):
            while reports.get(timeout=1.5):  # the cable is new: its link comes up, its addresses become usable
                pass
        before = probes()
        for chatter in (
            ("link", "add", "container", "type", "veth", "peer", "name", "inside"),
            ("link", "set", "container", "up"),
            ("link", "set", "inside", "up"),
            ("route", "add", "10.99.0.0/16", "via", "10.77.0.1"),
            ("address", "add", "10.99.1.1/24", "dev", "lo"),
            ("address", "add", "10.77.0.4/24", "dev", end),
            ("link", "del", "container"),
        ):
            host.ip(*chatter)
            reports.get(timeout=10)
    for count, change in enumerate(
        (
            ("route", "add", "10.77.0.1/32", "dev", end, "src", "10.77.0.4"),
            ("address", "del", "10.77.0.4/24", "dev", end),  # and the route with it
        ),
        start=1,
    ):
        host.ip(*change)
        changed = time.monotonic()
        processes.wait_until(lambda count=count: probes() >= before + count, deadline=5)
        took = time.monotonic() - changed
        figure(f"{change[0]} changed: the jumphost has the probe after {took:.2f} s")
        assert took <= 1.0
        assert probes() == before + count
    assert customer.tunnel()["state"] == "connected"
    assert answered > 0


@pytest.mark.alone
@pytest.mark.long  # the short one: interop/test_refusals.py::test_two_agents_for_one_tunnel_are_a_hot_standby
def test_a_hot_standby_takes_over_when_the_first_loses_its_power(make_jumphost: MakeJumphost, figure: Figure) -> None:
    """Two agents for one tunnel on two machines; sshd set to notice the dead one after two seconds."""
    jumphost = make_jumphost("ClientAliveInterval 1", "ClientAliveCountMax 2")
    first, _ = jumphost.connected()
    second_database = jumphost.database(jumphost.second_host)
    second = jumphost.customer(jumphost.second_host, name="second")
    second.set_up(jumphost.sshd, second_database.port, port=jumphost.port, address="10.78.0.1")
    second.run("up", "--daemon", "--wait", "1", expect=75)
    second.wait_for("standby")
    attempts = second.tunnel()["attempts"]

    power_off(jumphost, first)
    cut = time.monotonic()
    # Not by knocking at the port: that keeps sshd from asking the dead one. It counts in whole seconds (its
    # serverloop.c), so it notices after 3 to 6 of them.
    processes.wait_until(lambda: "not responding" in jumphost.sshd.log_text(), deadline=15)
    freed = time.monotonic()
    second.wait_for("connected", deadline=15)
    over = jumphost.host.wait_for_echo(jumphost.port, since=cut, deadline=15)
    noticed = freed - cut

    figure(
        f"hot standby: the second machine has the port {over - noticed:.1f} s after sshd let go of the first, "
        f"{over:.1f} s after that one lost its power"
    )
    assert second.tunnel()["state"] == "connected"
    assert second.tunnel()["attempts"] == attempts
    assert over - noticed <= 6.0  # the standby asks every 5 s, and has it at once
