"""The stand-in jumphost carries what a real one would, for OpenSSH's client and for paramiko's."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paramiko
import pytest
from paramiko import common
from paramiko.message import Message
from tests.rigs import database, processes
from tests.rigs import stub as stubs

from ioconnect.config.addresses import HostPort
from ioconnect.errors import SystemRefused, UsageFault
from ioconnect.stub.jumphost import CIPHERS, MACS, Jumphost

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20


@pytest.fixture
def port(rig: stubs.StubRig, db: database.Database) -> Iterator[int]:
    """The jumphost's port that leads to the database, by OpenSSH's client."""
    with stubs.openssh(rig, db.port) as tunnel:
        yield tunnel.port


def test_bytes_arrive_whole_each_way(port: int, rig: stubs.StubRig) -> None:
    """64 MiB there, and after EOF 20 MiB back; then 64 MiB back. Nothing is lost, and every channel ends."""
    assert database.push(port, 64 * MIB, back=20 * MIB) == (
        64 * MIB,
        database.sha256_of(64 * MIB),
        (20 * MIB, database.sha256_of(20 * MIB)),
    )
    assert database.pull(port, 64 * MIB) == (64 * MIB, database.sha256_of(64 * MIB))

    rig.wait_for(lambda: rig.jumphost.open_channels == 0)
    assert list(rig.ledger.violations) == []


def test_200_connections_at_once(port: int, rig: stubs.StubRig) -> None:
    talkers = [database.call(port, b"E") for _ in range(200)]
    rig.wait_for(lambda: rig.ledger.counters.channels == 200, 30)
    for number, talker in enumerate(talkers):
        talker.sendall(struct.pack(">Q", number))
    answers = [struct.unpack(">Q", database.exactly(talker, 8))[0] for talker in talkers]
    for talker in talkers:
        talker.close()

    assert answers == list(range(200))
    rig.wait_for(lambda: rig.jumphost.open_channels == 0, 30)


def test_keys_change_under_load(port: int, rig: stubs.StubRig) -> None:
    """Key exchanges asked for by the jumphost while bytes go both ways lose none of them."""
    with ThreadPoolExecutor(2) as pool:
        there, back = pool.submit(database.push, port, 48 * MIB), pool.submit(database.pull, port, 48 * MIB)
        exchanges = 0
        while not (there.done() and back.done()):
            rig.faults.rekey(30)
            exchanges += 1

    assert (there.result()[1], back.result()[1]) == (database.sha256_of(48 * MIB),) * 2
    assert rig.ledger.counters.rekeys >= exchanges > 1
    assert list(rig.ledger.violations) == []


def test_a_reader_that_goes_ends_its_channel_only(port: int, rig: stubs.StubRig) -> None:
    """A pipeline that resets in mid-stream frees its channel; a neighbour goes on."""
    neighbour = database.call(port, b"E")
    for _ in range(20):
        reader = database.call(port, b"S", 64 * MIB)
        database.exactly(reader, 1000)
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        reader.close()
    rig.wait_for(lambda: rig.jumphost.open_channels == 1)
    neighbour.sendall(b"still there")

    assert database.exactly(neighbour, 11) == b"still there"
    neighbour.close()


def test_a_slow_reader_holds_up_nobody(port: int) -> None:
    """One who does not read costs a window; others flow past."""
    with database.call(port, b"S", 64 * MIB) as idle:
        assert database.pull(port, 8 * MIB) == (8 * MIB, database.sha256_of(8 * MIB))
        assert database.drain(idle) == (64 * MIB, database.sha256_of(64 * MIB))


def test_a_database_that_is_down_ends_the_connection_at_once(rig: stubs.StubRig) -> None:
    with stubs.openssh(rig, processes.free_port()) as tunnel:
        with socket.create_connection(("127.0.0.1", tunnel.port), timeout=5) as talker:
            assert talker.recv(1) == b""
        rig.wait_for(lambda: rig.ledger.counters.channels_refused == 1)
        assert rig.jumphost.listens_on(tunnel.port)

    assert rig.ledger.open_failures[0][0] == common.OPEN_FAILED_CONNECT_FAILED


@pytest.mark.parametrize("cipher", [*CIPHERS[:3], "aes128-ctr"])
def test_every_cipher_carries(cipher: str, tmp_path: Path, db: database.Database) -> None:
    with stubs.running(tmp_path / "stub", ciphers=[cipher]) as rig, stubs.openssh(rig, db.port) as tunnel:
        assert database.push(tunnel.port, 3 * MIB)[1] == database.sha256_of(3 * MIB)
        assert f"cipher: {cipher}" in tunnel.log.read_text()


@pytest.mark.parametrize("mac", MACS)
def test_every_mac_carries(mac: str, tmp_path: Path, db: database.Database) -> None:
    with (
        stubs.running(tmp_path / "stub", ciphers=["aes256-ctr"], macs=[mac]) as rig,
        stubs.openssh(rig, db.port) as tunnel,
    ):
        assert database.push(tunnel.port, 3 * MIB)[1] == database.sha256_of(3 * MIB)
        assert f"MAC: {mac}" in tunnel.log.read_text()


# with paramiko's client


def test_a_session_may_have_several_forwards(rig: stubs.StubRig) -> None:
    """Each connection says which one it came by; cancelled, the port is free when the answer comes."""
    second = processes.free_port()
    rig.jumphost.authorize(rig.public, second)
    with stubs.signed_in(rig) as client:
        arrived: list[Any] = []
        for number in (rig.listen_port, second):
            client.request_port_forward("localhost", number, lambda *facts: arrived.append(facts))
        for number in (second, rig.listen_port):
            socket.create_connection(("127.0.0.1", number)).close()
        processes.wait_until(lambda: len(arrived) == 2)
        client.cancel_port_forward("localhost", second)

        assert not processes.listens(second)
        assert processes.listens(rig.listen_port)
        assert {server[1] for _channel, _origin, server in arrived} == {second, rig.listen_port}
        assert {server[0] for _channel, _origin, server in arrived} == {"localhost"}


def test_a_channel_that_closes_without_eof_resets(rig: stubs.StubRig) -> None:
    """What was delivered before is not taken for the whole."""
    with stubs.signed_in(rig) as client:
        channels: list[paramiko.Channel] = []
        client.request_port_forward("localhost", rig.listen_port, lambda channel, *_: channels.append(channel))
        with socket.create_connection(("127.0.0.1", rig.listen_port), timeout=10) as talker:
            processes.wait_until(lambda: channels)
            channels[0].sendall(b"half of it")
            assert database.exactly(talker, 10) == b"half of it"
            say(client, common.cMSG_CHANNEL_CLOSE, channels[0].remote_chanid)

            with pytest.raises(ConnectionResetError):
                talker.recv(1)


def say(client: paramiko.Transport, kind: bytes, *fields: int | str | bytes) -> None:
    """Send any message."""
    message = Message()
    message.add_byte(kind)
    for field in fields:
        message.add_int(field) if isinstance(field, int) else message.add_string(field)
    with contextlib.suppress(EOFError):  # it has ended the session already
        client._send_user_message(message)


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ([(common.cMSG_CHANNEL_EOF,), (common.cMSG_CHANNEL_DATA, b"x")], "data after EOF"),
        ([(common.cMSG_CHANNEL_EOF,), (common.cMSG_CHANNEL_EOF,)], "a second EOF"),
        ([(common.cMSG_CHANNEL_DATA, bytes(33_000))], "33000 bytes of data"),
        ([(common.cMSG_CHANNEL_DATA, bytes(32_768))] * 1000, "data beyond the window"),
        ([(common.cMSG_CHANNEL_WINDOW_ADJUST, 0xFFFFFFFF)], "a window beyond"),
        ([(common.cMSG_CHANNEL_EXTENDED_DATA, 1, b"x")], "extended data"),
        ([(common.cMSG_CHANNEL_OPEN_SUCCESS, 9, 9, 9)], "a second answer"),
    ],
)
def test_a_client_that_breaks_the_protocol_is_told_so(
    rig: stubs.StubRig, messages: list[tuple[Any, ...]], complaint: str
) -> None:
    with stubs.signed_in(rig) as client:
        channels: list[paramiko.Channel] = []
        client.request_port_forward("localhost", rig.listen_port, lambda channel, *_: channels.append(channel))
        with socket.create_connection(("127.0.0.1", rig.listen_port)):
            processes.wait_until(lambda: channels)
            for kind, *fields in messages:
                say(client, kind, channels[0].remote_chanid, *fields)
            rig.wait_for(lambda: rig.ledger.violations)

        assert complaint in rig.ledger.violations[0]
        rig.wait_for(lambda: rig.jumphost.sessions() == [])


def test_a_request_during_a_key_exchange_ends_the_session(rig: stubs.StubRig) -> None:
    """RFC 4253 §7.1, as OpenSSH enforces it since 10.4: between KEXINIT and NEWKEYS nothing else may be sent."""
    with stubs.signed_in(rig) as client:
        with client.packetizer._Packetizer__write_lock:  # nothing of the client's own comes in between
            client._send_kex_init()
            request = Message()
            request.add_byte(common.cMSG_GLOBAL_REQUEST)
            request.add_string("keepalive@openssh.com")
            request.add_boolean(True)
            client._send_message(request)
        rig.wait_for(lambda: rig.ledger.violations)

    assert "Expecting packet" in rig.ledger.violations[0]


def test_data_for_no_channel_ends_the_session(rig: stubs.StubRig) -> None:
    """As sshd does it."""
    with stubs.signed_in(rig) as client:
        say(client, common.cMSG_CHANNEL_DATA, 7, b"x")
        rig.wait_for(lambda: "packet referred to nonexistent channel 7" in rig.ledger.violations)


def test_unknown_messages_and_requests_are_declined(rig: stubs.StubRig) -> None:
    """A session survives what it does not know: a message type, a global request, a shell."""
    with stubs.signed_in(rig) as client:
        say(client, bytes([192]), b"ping")
        assert client.global_request("nobody@knows") is None
        assert client.global_request("keepalive@openssh.com") is None
        with pytest.raises(paramiko.ChannelException, match="Administratively prohibited"):
            client.open_session()

        assert rig.ledger.counters.keepalives == 1
        assert client.request_port_forward("localhost", rig.listen_port) == rig.listen_port


@pytest.mark.parametrize("host", ["", "127.0.0.1", "localhost.", "0.0.0.0"])
def test_a_key_with_a_port_must_ask_for_localhost(rig: stubs.StubRig, host: str) -> None:
    """As with permitlisten="localhost:PORT"."""
    with stubs.signed_in(rig) as client, pytest.raises(paramiko.SSHException, match="denied"):
        client.request_port_forward(host, rig.listen_port)


@pytest.mark.parametrize("number", [0, 1, 65_536, 4_294_967_295])
def test_a_key_may_listen_on_its_port_only(rig: stubs.StubRig, number: int) -> None:
    with stubs.signed_in(rig) as client, pytest.raises(paramiko.SSHException, match="denied"):
        client.request_port_forward("localhost", number)


def test_a_key_without_a_port_may_listen_anywhere_on_loopback(rig: stubs.StubRig) -> None:
    rig.jumphost.authorize(rig.public)
    with stubs.signed_in(rig) as client:
        given = client.request_port_forward("", 0)

        assert processes.listens(given)
        with pytest.raises(paramiko.SSHException, match="denied"):
            client.request_port_forward("localhost", given)  # busy
        with pytest.raises(paramiko.SSHException, match="denied"):
            client.request_port_forward("localhost", 65_536)


def test_only_the_tunnel_user_with_an_authorized_key_signs_in(rig: stubs.StubRig, tmp_path: Path) -> None:
    mine = paramiko.Ed25519Key.from_private_key_file(str(rig.key))
    stubs.make_key(tmp_path / "other")
    other = paramiko.Ed25519Key.from_private_key_file(str(tmp_path / "other"))
    for user, key in (("root", mine), (rig.user, other)):
        with stubs.connected(rig) as client, pytest.raises(paramiko.AuthenticationException):
            client.auth_publickey(user, key)
    with stubs.connected(rig) as client, pytest.raises(paramiko.BadAuthenticationType):
        client.auth_password(rig.user, "password", fallback=False)

    assert (rig.ledger.counters.auth_requests, rig.ledger.counters.signatures) == (2, 2)
    assert rig.ledger.counters.sign_ins == 0


def test_nothing_is_granted_before_the_sign_in(rig: stubs.StubRig) -> None:
    with stubs.connected(rig) as client, pytest.raises(paramiko.SSHException, match="denied"):
        client.request_port_forward("localhost", rig.listen_port)

    assert rig.ledger.counters.forwards_requested == 0


def test_endless_input_before_the_sign_in_is_cut(rig: stubs.StubRig) -> None:
    with socket.create_connection((rig.host, rig.port), timeout=10) as client, pytest.raises(ConnectionError):
        client.sendall(bytes(64 * MIB))
    rig.wait_for(lambda: rig.jumphost.sessions() == [])


# its life


def test_stop_leaves_nothing(tmp_path: Path, db: database.Database) -> None:
    """No thread, no descriptor, no port, with connections open and clients half-way in; stopping twice is fine."""
    before = held()
    listen = HostPort("127.0.0.1", processes.free_port())  # the kernel's choice might be somebody else's afterwards
    with stubs.running(tmp_path / "stub", listen=listen) as rig, stubs.openssh(rig, db.port) as tunnel:
        talkers = [database.call(tunnel.port, b"S", 64 * MIB) for _ in range(5)]
        for talker in talkers:
            database.exactly(talker, 1)
        talkers.append(socket.create_connection((rig.host, rig.port)))
        rig.stub.stop()
        rig.stub.stop()
        for talker in talkers:
            talker.close()

        assert not processes.listens(tunnel.port)
        assert not processes.listens(rig.port)
    processes.wait_until(lambda: len(db.endings) == 5, what="the database's talks end")

    def let_go() -> bool:
        now = held()
        return now[0] <= before[0] and now[1] <= before[1]  # an earlier test's threads may end meanwhile

    processes.wait_until(let_go, what="everything is let go")


def held() -> tuple[set[threading.Thread], int]:
    """Return the threads there are, and how many descriptors, but for those that reserve ports; 0 without /proc."""
    return set(threading.enumerate()), len(list(Path("/proc/self/fd").glob("*"))) - processes.reserving()


def test_it_starts_again() -> None:
    jumphost = Jumphost()
    for _ in range(2):
        with jumphost:
            assert processes.first_bytes(jumphost.address.port).startswith(b"SSH-2.0-")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", ""])
def test_it_keeps_to_loopback(host: str) -> None:
    with pytest.raises(UsageFault, match="loopback"):
        Jumphost(HostPort(host, 0))


def test_it_says_when_its_port_is_taken(rig: stubs.StubRig) -> None:
    with pytest.raises(SystemRefused, match="in use"):
        Jumphost(HostPort("127.0.0.1", rig.port)).start()
