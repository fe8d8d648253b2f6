"""How the keys of a session with the real sshd are agreed on: with the strongest exchange that its version has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from tests.rigs import database, processes
from tests.rigs.agent_session import AgentSession
from tests.rigs.database import Database

from ioconnect.config import crypto
from ioconnect.config.addresses import HostPort
from ioconnect.config.configuration import AgentSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.rigs.customer import Customer
    from tests.rigs.sshd import Sshd

HYBRID = "mlkem768x25519-sha256"  # post-quantum, draft-ietf-sshm-mlkem-hybrid-kex; in OpenSSH from 9.9 on
CLASSIC = "curve25519-sha256"  # RFC 8731, the best that paramiko shares with an older OpenSSH
HYBRID_SINCE = (9, 9)


def version(sshd: Sshd) -> tuple[int, ...]:
    """Return the version in its identification string, such as (9, 2)."""
    found = re.match(rb"SSH-2\.0-OpenSSH_(\d+)\.(\d+)", processes.first_bytes(sshd.port))
    assert found
    return int(found[1]), int(found[2])


def test_is_post_quantum_wherever_the_jumphost_can(
    customer: Customer, sshd: Sshd, set_up: Callable[..., int]
) -> None:
    set_up(processes.free_port())
    before = len(sshd.log_text())

    customer.run("up", "--daemon")

    negotiated = re.findall(r"kex: algorithm: (\S+)", sshd.log_text()[before:])
    security = customer.tunnel()["security"]
    assert [security["kex"]] == negotiated
    assert security["post_quantum"] == (version(sshd) >= HYBRID_SINCE)
    assert f"kex: client->server cipher: {security['cipher']} MAC: <implicit>" in sshd.log_text()[before:]
    assert security["mac"] is None
    assert negotiated == [HYBRID if version(sshd) >= HYBRID_SINCE else CLASSIC]


@pytest.mark.parametrize(
    "name", ["diffie-hellman-group16-sha512", *(kex for kex in crypto.KEX if "libssh" not in kex)]
)
def test_whatever_exchange(tmp_path: Path, make_sshd: Callable[..., Sshd], name: str) -> None:
    """Each that is offered to an old jumphost only, and again in mid-session."""
    sshd = make_sshd(f"KexAlgorithms {name}", "RekeyLimit 16M")
    settings = AgentSettings(allowed_algorithms=crypto.ALLOWED)
    with (
        Database() as target,
        AgentSession(tmp_path / "c", sshd, HostPort("127.0.0.1", target.port), settings=settings) as agent,
    ):
        assert database.pull(agent.port, 40 << 20) == (40 << 20, database.sha256_of(40 << 20))
        transport = agent.session._transport
        assert transport is not None
        assert transport.kex == name

    assert sshd.log_text().count("SSH2_MSG_NEWKEYS received") > 2
