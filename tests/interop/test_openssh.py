"""A tunnel's life on a real OpenSSH jumphost: from nothing to connected, lost and back, down and gone."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from tests.rigs import processes
from tests.rigs.openssh import OpensshTunnel

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rigs.customer import Customer
    from tests.rigs.postgres import Postgres
    from tests.rigs.sshd import Sshd

BACK_WITHIN = 5.0  # seconds after the jumphost answers again
FREE_WITHIN = 1.0  # seconds after `down` until the port can be had


def test_the_way_of_the_vendors_page(customer: Customer, sshd: Sshd, postgres: Postgres) -> None:
    """The line that the UI shows, as it is, is all that the customer has to hand over."""
    port = processes.free_port()
    key = customer.home / "no_such_key"
    line = (
        f"ssh -NR {port}:localhost:{postgres.port} {sshd.user}@{sshd.host} -i {key} -p {sshd.port} "
        '-o "ExitOnForwardFailure yes" -o ServerAliveInterval=10 -o ServerAliveCountMax=1 -v'
    )

    sshd.authorize(customer.run("keygen"), port)
    assert customer.run("register", "--paste", line) == "default\n"
    assert customer.run("pin", "--fingerprint", sshd.fingerprint).strip().endswith(sshd.fingerprint)
    customer.run("up", "--daemon")

    assert postgres.query(port, "select 6 * 7") == "42"
    seen = customer.wait_for("connected")
    assert (seen["listen_port"], seen["reason"], seen["host_key"]) == (port, None, sshd.fingerprint)
    assert seen["target"] == f"localhost:{postgres.port}"
    processes.wait_until(lambda: customer.tunnel()["connections"]["total"] >= 1, what="the query is counted")


def test_the_key_that_the_vendor_knows_goes_on_being_used(customer: Customer, sshd: Sshd, postgres: Postgres) -> None:
    """A pasted line's -i file that exists is this tunnel's identity."""
    port = processes.free_port()
    key = sshd.make_key("integrateio_reverse")
    sshd.authorize(key.with_name(key.name + ".pub").read_text(), port)

    line = f"ssh -NR {port}:localhost:{postgres.port} {sshd.user}@{sshd.host} -i {key} -p {sshd.port}"
    customer.run("register", "--paste", "-", text_in=line + "\n")
    customer.run("pin", "--fingerprint", sshd.fingerprint)
    customer.run("up", "--daemon")

    assert postgres.query(port, "select 1") == "1"


def test_a_killed_session_is_back_within_seconds(
    customer: Customer, sshd: Sshd, set_up: Callable[..., int], postgres: Postgres
) -> None:
    port = set_up(postgres.port)
    customer.run("up", "--daemon")
    agent = customer.agent_pid()

    for lost in (1, 2):
        sshd.kill_sessions()
        processes.wait_until(
            lambda lost=lost: customer.tunnel()["reconnects"] >= lost, deadline=BACK_WITHIN, what="the tunnel is back"
        )
        assert customer.wait_for("connected")["reason"] is None
        assert postgres.query(port, "select 1") == "1"
    assert customer.agent_pid() == agent


def test_a_restarted_jumphost_is_found_again(
    customer: Customer, sshd: Sshd, set_up: Callable[..., int], postgres: Postgres
) -> None:
    port = set_up(postgres.port)
    customer.run("up", "--daemon")

    sshd.stop()
    lost = processes.wait_until(
        lambda: (seen := customer.tunnel())["state"] == "backoff" and seen, what="the loss shows"
    )
    assert lost["reason"]["code"] in ("connection_lost", "unreachable")
    customer.run("status", "--check", expect=75)
    sshd.start()

    customer.wait_for("connected", deadline=BACK_WITHIN)
    assert postgres.query(port, "select 1") == "1"


def test_a_frozen_session_is_noticed(
    customer: Customer, sshd: Sshd, set_up: Callable[..., int], postgres: Postgres
) -> None:
    """TCP is alive and nobody answers: the keepalive finds out (2 s and one probe here)."""
    port = set_up(postgres.port)
    config = customer.home / "config.toml"
    text = config.read_text()
    assert "keepalive_interval" not in text
    table = "[agent]\nkeepalive_interval = 2\n"
    config.write_text(text.replace("[agent]\n", table) if "[agent]\n" in text else f"{text}\n{table}")
    customer.run("up", "--daemon")

    frozen = sshd.session_pids()
    sshd.freeze_sessions()
    processes.wait_until(lambda: customer.tunnel()["state"] != "connected", what="the silence is noticed")
    # Not by the reason: that is `port_busy` as soon as the next session has asked for the port.
    processes.wait_until(lambda: "has not answered for" in customer.log_text(), what="the silence is logged")
    processes.signal_all(frozen, signal.SIGKILL)

    customer.wait_for("connected", deadline=15)
    assert postgres.query(port, "select 1") == "1"


def test_down_frees_the_port_at_once(
    customer: Customer, sshd: Sshd, set_up: Callable[..., int], postgres: Postgres
) -> None:
    port = set_up(postgres.port)
    customer.run("up", "--daemon")
    customer.run("down")

    customer.run("status", "--check", expect=69)
    successor = OpensshTunnel(sshd, port, postgres.port)
    try:
        successor.start(deadline=FREE_WITHIN)
        assert postgres.query(port, "select 1") == "1"
    finally:
        successor.stop()


def test_several_tunnels_in_one_agent(
    customer: Customer, sshd: Sshd, set_up: Callable[..., int], postgres: Postgres
) -> None:
    """Each leads to its own target, over a session of its own; `down` ends them all."""
    here = set_up(postgres.port, name="here")
    there = set_up(sshd.port, name="there")
    customer.run("up", "--daemon")

    assert postgres.query(here, "select 1") == "1"
    banner = processes.first_bytes(there)
    assert banner.startswith(b"SSH-2.0-OpenSSH")
    states = {tunnel["name"]: tunnel["state"] for tunnel in customer.status()["tunnels"]}
    assert states == {"here": "connected", "there": "connected"}

    customer.run("down")
    assert not processes.listens(here)
    assert not processes.listens(there)


def test_up_twice_is_one_agent(
    customer: Customer, sshd: Sshd, set_up: Callable[..., int], postgres: Postgres
) -> None:
    """Cron may repeat it every five minutes."""
    set_up(postgres.port)
    customer.run("up", "--daemon")
    agent, sessions = customer.agent_pid(), sshd.session_pids()

    customer.run("up", "--daemon")

    assert (customer.agent_pid(), sshd.session_pids()) == (agent, sessions)


def test_an_agent_that_was_killed_stops_nobody(
    customer: Customer, set_up: Callable[..., int], postgres: Postgres
) -> None:
    port = set_up(postgres.port)
    customer.run("up", "--daemon")
    killed = customer.agent_pid()
    processes.signal_all([killed], signal.SIGKILL)
    processes.wait_until(lambda: not processes.is_alive(killed), what="the agent is dead")

    customer.run("status", "--check", expect=69)
    customer.run("up", "--daemon")

    assert customer.agent_pid() != killed
    assert postgres.query(port, "select 1") == "1"
