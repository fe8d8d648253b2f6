"""What a real sshd refuses, and what the agent makes of it: a state, a reason, and no harm done."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes
from tests.rigs.openssh import OpensshTunnel

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rigs.customer import Customer
    from tests.rigs.postgres import Postgres
    from tests.rigs.sshd import Sshd

SOON = 5.0  # seconds
NOT_CONNECTED = 75  # `up --daemon`: the agent runs, one tunnel is not connected
WRONG_FINGERPRINT = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
SIGNING_IN = "userauth-request"  # what sshd logs at DEBUG1 for each attempt, also for the method "none"


def code_of(customer: Customer) -> str:
    """Return why the tunnel is not connected."""
    reason = customer.tunnel()["reason"]
    assert reason["message"]
    assert reason["hint"]
    code: str = reason["code"]
    return code


def register(customer: Customer, sshd: Sshd, port: int, target_port: int) -> str:
    """Make key and registration without a pin; return the public key."""
    key = customer.run("keygen")
    where = ("--endpoint", f"{sshd.host}:{port}", "--to", f"localhost:{target_port}")
    customer.run("register", *where, "--ssh-port", str(sshd.port), "--ssh-user", sshd.user)
    return key


def test_a_fingerprint_that_does_not_match_pins_nothing(customer: Customer, sshd: Sshd) -> None:
    sshd.authorize(register(customer, sshd, processes.free_port(), 1))

    customer.run("pin", "--fingerprint", WRONG_FINGERPRINT, expect=76)

    pins = customer.home / "known_hosts"
    assert not pins.exists() or sshd.host_key_line not in pins.read_text()
    customer.run("up", "--daemon", expect=78)
    customer.run("status", "--check", expect=69)
    assert SIGNING_IN not in sshd.log_text()


def test_a_swapped_host_key_sees_no_authentication(
    customer: Customer, sshd: Sshd, set_up: Callable[..., int], postgres: Postgres
) -> None:
    """Held, with both fingerprints; heals by itself when the pinned key is back."""
    port = set_up(postgres.port)
    pinned, key = sshd.fingerprint, sshd.host_key
    sshd.swap_host_key()
    sshd.restart()

    customer.run("up", "--daemon", "--wait", "1", expect=NOT_CONNECTED)

    customer.wait_for("held")
    assert code_of(customer) == "host_key_changed"
    message = customer.tunnel()["reason"]["message"]
    assert pinned in message
    assert sshd.fingerprint in message
    tested = json.loads(customer.run("test", "--json", expect=76))["checks"]
    hints = [customer.tunnel()["reason"]["hint"], *(check["hint"] for check in tested if check["status"] == "fail")]
    assert len(hints) > 1
    for hint in hints:  # no command that accepts the key is there to be copied
        assert "compare first" in hint
        assert sshd.fingerprint not in hint
    assert SIGNING_IN not in sshd.log_text()

    sshd.host_key = key
    sshd.restart()
    customer.run("reconnect")
    customer.wait_for("connected", deadline=SOON)
    assert postgres.query(port, "select 1") == "1"


def test_a_key_that_is_not_registered_is_held(
    customer: Customer, sshd: Sshd, set_up: Callable[..., int], postgres: Postgres
) -> None:
    """Slowly, or fail2ban is fed; `reconnect` is at once."""
    port = set_up(postgres.port)
    known = sshd.authorized_keys.read_text()
    sshd.revoke_all()

    customer.run("up", "--daemon", "--wait", "1", expect=NOT_CONNECTED)

    customer.wait_for("held")
    assert code_of(customer) == "auth_refused"
    assert customer.tunnel()["attempts"] <= 2

    sshd.authorized_keys.write_text(known)
    customer.run("reconnect")
    customer.wait_for("connected", deadline=SOON)
    assert postgres.query(port, "select 1") == "1"


def test_a_jumphost_that_wants_more_than_the_key(
    customer: Customer, make_sshd: Callable[..., Sshd], postgres: Postgres
) -> None:
    """The key is not what is wrong, so nobody is sent to paste it again."""
    both = "AuthenticationMethods publickey,keyboard-interactive"
    sshd = make_sshd(both, "KbdInteractiveAuthentication yes", "UsePAM yes")
    port = processes.free_port()
    sshd.authorize(register(customer, sshd, port, postgres.port), port)
    customer.run("pin", "--fingerprint", sshd.fingerprint)
    customer.run("up", "--daemon", "--wait", "1", expect=NOT_CONNECTED)

    reason = customer.wait_for("held")["reason"]

    assert reason["code"] == "second_factor"
    assert "accepts this machine's key" in reason["message"]
    assert "keyboard-interactive" in reason["message"]
    customer.run("down")
    checks = json.loads(customer.run("test", "--json", expect=77))["checks"]
    assert [check["reason"] for check in checks if check["id"] == "auth"] == ["second_factor"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's sshd runs AuthorizedKeysCommand as another account")
def test_one_that_closes_in_mid_sign_in_is_not_asked_again_and_again(
    customer: Customer, make_sshd: Callable[..., Sshd]
) -> None:
    """As with an account that has expired: each counts as a failed sign-in of this address (PerSourcePenalties)."""
    sshd = make_sshd('AuthorizedKeysCommand /bin/sh -c "kill -9 $PPID"', "AuthorizedKeysCommandUser root")
    sshd.authorize(register(customer, sshd, processes.free_port(), 1))
    customer.run("pin", "--fingerprint", sshd.fingerprint)
    sshd.revoke_all()  # the file is asked first
    customer.run("up", "--daemon", "--wait", "0", expect=NOT_CONNECTED)

    def tried_twice() -> bool:
        tunnel = customer.tunnel()
        return bool(tunnel["attempts"] == 2 and tunnel["state"] == "backoff")

    processes.wait_until(tried_twice, what="the second end", instead=customer.tunnel)
    tunnel = customer.tunnel()
    next_at = datetime.strptime(tunnel["next_attempt_at"], "%Y-%m-%dT%H:%M:%S%z")
    assert (next_at - datetime.now(timezone.utc)).total_seconds() > 45
    assert tunnel["reason"]["code"] == "connection_lost"
    assert "may have expired" in tunnel["reason"]["hint"]


def test_a_port_that_is_not_permitted_is_held(customer: Customer, sshd: Sshd) -> None:
    """The key may listen, only not there."""
    asked, permitted = processes.free_port(), processes.free_port()
    sshd.authorize(register(customer, sshd, asked, 1), permitted)
    customer.run("pin", "--fingerprint", sshd.fingerprint)

    customer.run("up", "--daemon", "--wait", "1", expect=NOT_CONNECTED)

    customer.wait_for("held")
    assert code_of(customer) == "forward_not_permitted"
    assert str(asked) in customer.tunnel()["reason"]["message"]


def test_a_busy_port_is_waited_for_on_the_same_session(
    customer: Customer, sshd: Sshd, set_up: Callable[..., int], postgres: Postgres
) -> None:
    """Standby: signed in once, and there as soon as the port is free."""
    port = set_up(postgres.port)
    holder = OpensshTunnel(sshd, port, postgres.port)
    holder.start()
    try:
        customer.run("up", "--daemon", "--wait", "1", expect=NOT_CONNECTED)

        customer.wait_for("standby")
        assert code_of(customer) == "port_busy"
        signed_in = sshd.log_text().count("Accepted publickey")
    finally:
        holder.stop()

    customer.wait_for("connected", deadline=SOON + 1)
    assert postgres.query(port, "select 1") == "1"
    assert sshd.log_text().count("Accepted publickey") == signed_in
    assert customer.tunnel()["attempts"] == 1


def test_two_agents_for_one_tunnel_are_a_hot_standby(
    customer: Customer,
    make_customer: Callable[[str], Customer],
    sshd: Sshd,
    set_up: Callable[..., int],
    postgres: Postgres,
) -> None:
    """The second machine waits, signed in, and takes over when the first lets go."""
    port = set_up(postgres.port)
    customer.run("up", "--daemon")
    second = make_customer("second")
    sshd.authorize(register(second, sshd, port, postgres.port), port)
    second.run("pin", "--fingerprint", sshd.fingerprint)
    second.run("up", "--daemon", "--wait", "1", expect=NOT_CONNECTED)
    second.wait_for("standby")

    customer.run("down")

    second.wait_for("connected", deadline=SOON + 1)
    assert postgres.query(port, "select 1") == "1"


def test_a_jumphost_that_is_not_there_is_tried_again(
    customer: Customer, sshd: Sshd, set_up: Callable[..., int], postgres: Postgres
) -> None:
    """Remote faults are retried: the agent starts nevertheless."""
    port = set_up(postgres.port)
    sshd.stop()

    customer.run("up", "--daemon", "--wait", "1", expect=NOT_CONNECTED)

    customer.wait_for("backoff")
    assert code_of(customer) == "unreachable"
    sshd.start()
    customer.wait_for("connected", deadline=SOON)
    assert postgres.query(port, "select 1") == "1"
