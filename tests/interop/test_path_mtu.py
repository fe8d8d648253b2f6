"""A path that swallows large packets and says nothing: the real sshd introduces itself, and then all is silent."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes
from tests.rigs.agent_session import LooseSession
from tests.rigs.netns import Host, HostSshd

from ioconnect.agent.tunnel.events import Lost
from ioconnect.errors import KexTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def host() -> Iterator[Host]:
    """A host whose loopback drops what a tunnel with an MTU of 1000 bytes would, without ICMP."""
    made = Host("mtu")
    try:
        nft = processes.need_program("nft", package="nftables")
        for rule in (
            "add table ip filter",
            "add chain ip filter in { type filter hook input priority 0 ; }",
            "add rule ip filter in ip length > 1000 drop",
        ):
            made.run(nft, *rule.split())
        yield made
    finally:
        made.remove()


def test_the_key_exchange_comes_to_a_stop_and_the_fault_says_why(host: Host, tmp_path: Path) -> None:
    (tmp_path / "sshd").mkdir()
    sshd = HostSshd(host, tmp_path / "sshd", "127.0.0.1")
    sshd.start()
    try:
        known = sshd.known_hosts_line
        loose = LooseSession(tmp_path / "agent", sshd.port, known_hosts=known, patience=4.0)
        with host.entered():
            connection = socket.create_connection(("127.0.0.1", sshd.port))
        loose.session.start(connection)

        fault = loose.reports.take(Lost).fault
    finally:
        sshd.stop()

    assert isinstance(fault, KexTimeout)
    assert fault.message == f"127.0.0.1:{sshd.port} did not finish the key exchange within 4 s"
    assert "MTU" in fault.hint
