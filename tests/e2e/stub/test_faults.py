"""Every fault of the stand-in jumphost looks to a client as the real one would."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import paramiko
import pytest
from tests.rigs import database, processes
from tests.rigs import stub as stubs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.rigs.openssh import OpensshTunnel

    from ioconnect.stub.policy import Refusal

MIB = 1 << 20


@pytest.fixture
def tunnel(rig: stubs.StubRig, db: database.Database) -> Iterator[OpensshTunnel]:
    """OpenSSH's client with the database behind it."""
    with stubs.openssh(rig, db.port) as tunnel:
        yield tunnel


def has_ended(tunnel: OpensshTunnel) -> str:
    """Wait for OpenSSH's client to end; return what it said."""
    assert tunnel.process is not None
    tunnel.process.wait(10)
    return tunnel.log.read_text()


def try_once(rig: stubs.StubRig, host: str = "localhost") -> str:
    """Run OpenSSH's client with the rig's key until it ends; return what it said."""
    pins = rig.folder / "known_hosts"
    if not pins.exists():
        pins.write_text(rig.known_hosts_line + "\n")
    ssh = processes.need_program("ssh", package="openssh-client")
    options = ["BatchMode=yes", "IdentitiesOnly=yes", "ExitOnForwardFailure=yes", f"UserKnownHostsFile={pins}"]
    forward = ["-v", "-N", "-R", f"{host}:{rig.listen_port}:localhost:9", "-i", str(rig.key), "-p", str(rig.port)]
    settings = [word for option in options for word in ("-o", option)]
    return processes.run([ssh, "-F", "none", *forward, *settings, f"{rig.user}@{rig.host}"], deadline=20).stderr


def test_frozen_sessions_say_nothing_and_keep_their_port(rig: stubs.StubRig, tunnel: OpensshTunnel) -> None:
    """Thawed, they go on where they were; a session that comes in between is served and finds the port busy."""
    with database.call(tunnel.port, b"E") as talker:
        talker.sendall(b"one")
        assert database.exactly(talker, 3) == b"one"
        rig.faults.freeze()
        talker.sendall(b"two")
        talker.settimeout(0.5)
        with pytest.raises(TimeoutError):
            talker.recv(1)
        rig.jumphost.authorize(rig.public, tunnel.port)
        with stubs.signed_in(rig) as other, pytest.raises(paramiko.SSHException, match="denied"):
            other.request_port_forward("localhost", tunnel.port)
        rig.faults.thaw()
        talker.settimeout(10)

        assert database.exactly(talker, 3) == b"two"


def test_a_frozen_jumphost_answers_no_keepalive(rig: stubs.StubRig) -> None:
    with stubs.signed_in(rig) as client:
        rig.faults.freeze()
        client.global_request("keepalive@openssh.com", wait=False)
        with pytest.raises(TimeoutError):
            rig.wait_for(lambda: rig.ledger.counters.keepalives, 0.3)
        with pytest.raises(TimeoutError):
            rig.faults.rekey(0.3)
        rig.faults.thaw()
        rig.faults.rekey()


def test_a_frozen_session_can_still_be_dropped(rig: stubs.StubRig, tunnel: OpensshTunnel) -> None:
    """And one whose client has left by then is gone after the thaw."""
    rig.faults.freeze()
    rig.faults.drop()

    assert "reset" in has_ended(tunnel)
    with stubs.signed_in(rig):
        rig.faults.freeze()
    rig.faults.thaw()
    rig.wait_for(lambda: rig.jumphost.sessions() == [])


def test_a_dropped_session_is_reset_and_frees_its_port(rig: stubs.StubRig, tunnel: OpensshTunnel) -> None:
    """A transfer in its middle is reset as well: what came must not look like all of it."""
    with database.call(tunnel.port, b"S", 512 * MIB) as reader:
        database.exactly(reader, 1000)
        rig.faults.drop()

        assert not processes.listens(tunnel.port)
        with pytest.raises(ConnectionResetError):
            database.drain(reader)
    assert "reset" in has_ended(tunnel)
    assert rig.ledger.counters.sessions == 0


def test_a_disconnected_client_hears_why(rig: stubs.StubRig, tunnel: OpensshTunnel) -> None:
    rig.faults.disconnect("Closed for the night")

    assert not processes.listens(tunnel.port)
    assert "11: Closed for the night" in has_ended(tunnel)


def test_a_busy_port_is_refused_without_a_word(rig: stubs.StubRig) -> None:
    """And granted on the same session as soon as it is free."""
    rig.faults.refuse_forward("busy")
    said = try_once(rig)
    assert "remote port forwarding failed" in said
    assert "Remote: " not in said
    with stubs.signed_in(rig) as client:
        with pytest.raises(paramiko.SSHException, match="denied"):
            client.request_port_forward("localhost", rig.listen_port)
        rig.faults.allow_forward()

        assert client.request_port_forward("localhost", rig.listen_port) == rig.listen_port


def test_a_forward_that_is_not_permitted_is_refused_after_a_debug_message(rig: stubs.StubRig) -> None:
    rig.faults.refuse_forward("not_permitted")

    said = try_once(rig)

    assert "Remote: Server has disabled port forwarding." in said
    assert "remote port forwarding failed" in said


def test_a_wrong_bind_address_is_refused_after_a_debug_message(rig: stubs.StubRig) -> None:
    assert "Remote: port forwarding refused" in try_once(rig, "127.0.0.1")


def test_only_the_two_refusals_exist(rig: stubs.StubRig) -> None:
    why: Any = "maybe"
    with pytest.raises(ValueError, match="maybe"):
        rig.faults.refuse_forward(why)


def test_a_ghost_holds_its_port(rig: stubs.StubRig) -> None:
    """It accepts and never answers, as a dead session's listener; freed, the port is granted."""
    rig.faults.hold_port(rig.listen_port)
    rig.faults.hold_port(rig.listen_port)
    with socket.create_connection(("127.0.0.1", rig.listen_port), timeout=0.3) as talker, pytest.raises(TimeoutError):
        talker.recv(1)
    with stubs.signed_in(rig) as client:
        with pytest.raises(paramiko.SSHException, match="denied"):
            client.request_port_forward("localhost", rig.listen_port)
        rig.faults.free_port(rig.listen_port)
        rig.faults.free_port(rig.listen_port)

        assert client.request_port_forward("localhost", rig.listen_port) == rig.listen_port


def test_a_ghost_takes_over_a_port_in_use(rig: stubs.StubRig) -> None:
    with stubs.signed_in(rig) as client:
        client.request_port_forward("localhost", rig.listen_port)
        rig.faults.hold_port(rig.listen_port)
        rig.faults.drop()
    with stubs.signed_in(rig) as client, pytest.raises(paramiko.SSHException, match="denied"):
        client.request_port_forward("localhost", rig.listen_port)


def test_a_revoked_key_is_refused_until_restored(rig: stubs.StubRig, tunnel: OpensshTunnel) -> None:
    """Sessions that live go on; a refused client signs nothing, because it asks first."""
    rig.faults.revoke(rig.public)
    before = rig.ledger.counters.signatures
    assert "Permission denied (publickey)" in try_once(rig)
    assert rig.ledger.counters.signatures == before
    assert rig.jumphost.listens_on(tunnel.port)
    rig.faults.restore(rig.public)

    with stubs.signed_in(rig) as client:
        assert client.is_authenticated()


def test_a_swapped_host_key_stops_a_client_that_pinned_the_old_one(rig: stubs.StubRig) -> None:
    """Before any sign-in; with the old key back, all is well."""
    pinned = rig.host_key_line
    rig.faults.refuse_forward("busy")
    assert "remote port forwarding failed" in try_once(rig)
    requests = rig.ledger.counters.auth_requests
    swapped = rig.faults.swap_host_key()

    assert "HOST IDENTIFICATION HAS CHANGED" in try_once(rig)
    assert rig.ledger.counters.auth_requests == requests
    assert swapped.public.line == rig.host_key_line != pinned
    rig.faults.restore_host_key()
    assert rig.host_key_line == pinned
    assert "remote port forwarding failed" in try_once(rig)


def test_a_swapped_host_key_shows_at_the_next_key_exchange_too(rig: stubs.StubRig) -> None:
    with stubs.signed_in(rig) as client:
        first = client.get_remote_server_key().asbytes()
        swapped = rig.faults.swap_host_key()
        rig.faults.rekey()

        processes.wait_until(lambda: client.get_remote_server_key().asbytes() == swapped.public.blob)
        assert first != swapped.public.blob


def test_silence_before_the_banner(rig: stubs.StubRig) -> None:
    """The connection is accepted, and ends when the silence does; a client that came before notices nothing."""
    with stubs.signed_in(rig) as client:
        rig.faults.banner_silence()
        with socket.create_connection((rig.host, rig.port), timeout=0.3) as visitor:
            with pytest.raises(TimeoutError):
                visitor.recv(1)
            rig.wait_for(lambda: rig.ledger.counters.connections == 2)
            rig.faults.welcome()
            visitor.settimeout(10)
            assert visitor.recv(1) == b""

        assert client.request_port_forward("localhost", rig.listen_port)
    assert processes.first_bytes(rig.port).startswith(b"SSH-2.0-")


def test_silent_connections_are_dropped_with_the_others(rig: stubs.StubRig) -> None:
    rig.faults.banner_silence()
    with socket.create_connection((rig.host, rig.port), timeout=10) as visitor:
        rig.wait_for(lambda: rig.ledger.counters.connections == 1)
        rig.faults.drop()
        with pytest.raises(ConnectionResetError):
            visitor.recv(1)


@pytest.mark.parametrize("line", [b"Exceeded MaxStartups\r\n", b"Not allowed at this time\r\n"])
def test_turned_away_before_the_banner(rig: stubs.StubRig, line: bytes) -> None:
    rig.faults.turn_away(line)
    with socket.create_connection((rig.host, rig.port), timeout=10) as visitor:
        assert visitor.makefile("rb").read() == line
    assert line.decode().strip() in try_once(rig)
    rig.faults.welcome()

    assert processes.first_bytes(rig.port).startswith(b"SSH-2.0-")


def test_keepalives_are_counted(rig: stubs.StubRig) -> None:
    """As OpenSSH's client sends them: with an answer wanted, and refused by name."""
    with stubs.signed_in(rig) as client:
        for _ in range(3):
            assert client.global_request("keepalive@openssh.com") is None

    assert rig.ledger.counters.keepalives == 3


@pytest.mark.parametrize("why", ["busy", "not_permitted"])
def test_faults_of_all_kinds_leave_a_stub_that_stops(rig: stubs.StubRig, why: Refusal) -> None:
    """Stopping needs no clean-up by the test."""
    acts: list[Callable[[], object]] = [rig.faults.swap_host_key, rig.faults.freeze, rig.faults.banner_silence]
    with stubs.signed_in(rig):
        for act in acts:
            act()
        rig.faults.refuse_forward(why)
        rig.faults.hold_port(rig.listen_port)
        with socket.create_connection((rig.host, rig.port)):
            rig.wait_for(lambda: rig.ledger.counters.connections == 2)
            rig.stub.stop()

    assert not processes.listens(rig.listen_port)
