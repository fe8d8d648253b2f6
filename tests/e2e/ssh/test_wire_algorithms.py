"""What is offered on the wire, and what becomes of a jumphost that has none of it, or little."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from paramiko.message import Message
from tests.rigs.agent_session import LooseSession
from tests.rigs.paramiko_jumphost import ParamikoJumphost, ed25519
from tests.rigs.proxies import read_exactly
from tests.rigs.stranger import Stranger, until_it_leaves

from ioconnect.agent.tunnel.events import Lost
from ioconnect.config.configuration import AgentSettings
from ioconnect.ssh.algorithms import CIPHERS, KEX, MACS
from ioconnect.ssh.transport import ClientTransport

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from pathlib import Path

HOST_KEY = ed25519()
OLD = {"kex": ["diffie-hellman-group14-sha256"], "ciphers": ["aes256-ctr"], "digests": ["hmac-sha2-256"]}


def test_the_clients_lists(tmp_path: Path) -> None:
    """What ssh-audit sees of the agent: nothing that it fails, but a warning for each of two classical exchanges."""
    lists: list[list[str]] = []

    def talk(connection: socket.socket) -> None:
        connection.sendall(b"SSH-2.0-auditor\r\n")
        while read_exactly(connection, 1) != b"\n":
            pass
        size = int.from_bytes(read_exactly(connection, 4), "big")
        message = Message(read_exactly(connection, size)[1 + 1 + 16 :])  # padding, type, cookie
        lists.extend(message.get_list() for _ in range(8))
        connection.close()

    with Stranger(talk) as auditor:
        loose = LooseSession(tmp_path / "c", auditor.port)
        loose.session.start()
        loose.reports.take(Lost)

    there = [name for name in KEX if name in ClientTransport._kex_info]
    assert lists == [
        [*there, "ext-info-c", "kex-strict-c-v00@openssh.com"],
        ["ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256"],
        *2 * [list(CIPHERS)],
        *2 * [list(MACS)],
        *2 * [["none"]],
    ]


@pytest.mark.parametrize(
    ("allowed", "code", "said"),
    [
        ((), "algorithms_mismatch", "no key exchange in common: it offers diffie-hellman-group14-sha256"),
        (OLD["kex"], "algorithms_mismatch", "no MAC in common: it offers hmac-sha2-256; we offer hmac-sha2-512-etm"),
        ((*OLD["kex"], *OLD["digests"]), "host_key_changed", "no sign-in was attempted"),
    ],
)
def test_an_old_jumphost(tmp_path: Path, allowed: Sequence[str], code: str, said: str) -> None:
    """Both lists are told; with its algorithms allowed the host key is the next thing that is looked at."""
    with ParamikoJumphost(lambda _number: [HOST_KEY], **OLD) as old:
        settings = AgentSettings(allowed_algorithms=tuple(allowed))
        loose = LooseSession(tmp_path / "c", old.port, settings=settings)
        loose.session.start()
        fault = loose.reports.take(Lost).fault

    assert fault.code is not None
    assert fault.code.value == code
    assert said in fault.message


def test_an_aead_cipher_needs_no_mac_in_common(tmp_path: Path) -> None:
    """A jumphost with AES-GCM and MACs that are not offered was refused."""

    def lists(connection: socket.socket) -> None:
        connection.sendall(b"SSH-2.0-x\r\n" + kexinit)
        until_it_leaves(connection)

    body = Message()
    body.add_bytes(b"\x14" + bytes(16))
    for names in (["curve25519-sha256"], ["ssh-ed25519"], *2 * [["aes256-gcm@openssh.com"]], *2 * [["hmac-sha1"]]):
        body.add_list(names)
    for names in (["none"], ["none"], [], []):
        body.add_list(names)
    body.add_bytes(bytes(5))
    payload = body.asbytes()
    padding = 8 - (len(payload) + 5) % 8 + 8
    kexinit = (len(payload) + padding + 1).to_bytes(4, "big") + bytes((padding,)) + payload + bytes(padding)
    with Stranger(lists) as server:
        loose = LooseSession(tmp_path / "c", server.port, patience=1.0)
        loose.session.start()
        fault = loose.reports.take(Lost).fault

    assert "did not finish the key exchange" in fault.message
