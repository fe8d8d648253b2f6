"""Dialing without a proxy: Happy Eyeballs, a resolver that hangs, a source port that is reused."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes
from tests.rigs.database import pull

from ioconnect.agent.dial import happy_eyeballs
from ioconnect.agent.dial.connect_failures import NoAnswer, Refused
from ioconnect.agent.dial.dial import DialCancelled, dial
from ioconnect.agent.dial.happy_eyeballs import SourcePort
from ioconnect.agent.dial.resolve import Address, Resolver
from ioconnect.config.addresses import HostPort
from ioconnect.errors import NameNotResolved, Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rigs.agent_scene import AgentScene

TCP_REPAIR = 19  # linux/tcp.h; a connection closed in this mode says nothing to its peer, as after a power cut
NAME = HostPort("jumphost.invalid", 50683)


def at(host: str, port: int) -> Address:
    return Address(socket.AF_INET, (host, port))


def answering(*addresses: Address) -> Resolver:
    return Resolver(lambda _host, _port: addresses)


def soon(seconds: float = 10.0) -> float:
    return time.monotonic() + seconds


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        yield server


@pytest.fixture
def black_hole() -> Iterator[Address]:
    """An address whose SYNs are dropped: a listener whose queue is full."""
    with contextlib.ExitStack() as ends:
        server = ends.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = server.getsockname()
        for _ in range(8):
            filler = ends.enter_context(socket.socket())
            filler.settimeout(0.2)
            try:
                filler.connect(address)
            except TimeoutError:
                break
        else:
            pytest.skip("this system's listeners never drop a SYN")
        yield at(*address)


def port_of(server: socket.socket) -> int:
    port: int = server.getsockname()[1]
    return port


def test_a_dial_gives_a_connected_socket_ready_for_a_loop(listener: socket.socket) -> None:
    with dial(HostPort("127.0.0.1", port_of(listener)), environ={}, deadline=soon()) as sock:
        served, _ = listener.accept()
        with served:
            assert sock.getpeername() == listener.getsockname()
            assert sock.gettimeout() == 0
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_name_of_this_machine_resolves(listener: socket.socket) -> None:
    with dial(HostPort("localhost", port_of(listener)), environ={}, deadline=soon()) as sock:
        assert sock.getpeername() == listener.getsockname(), "also if localhost is ::1 first, where nobody listens"


def test_a_silent_address_costs_one_delay(listener: socket.socket, black_hole: Address) -> None:
    """The loser's socket is closed as well: an open one is a ResourceWarning, which fails the test."""
    resolver = answering(black_hole, at("127.0.0.1", port_of(listener)))
    started = time.monotonic()
    with dial(NAME, environ={}, deadline=soon(), resolver=resolver) as sock:
        elapsed = time.monotonic() - started
        assert sock.getpeername() == listener.getsockname()
    assert happy_eyeballs.ATTEMPT_DELAY <= elapsed < 5


def test_a_refused_address_costs_nothing(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(happy_eyeballs, "ATTEMPT_DELAY", 60.0)
    resolver = answering(at("127.0.0.1", processes.free_port()), at("127.0.0.1", port_of(listener)))
    with dial(NAME, environ={}, deadline=soon(), resolver=resolver) as sock:
        assert sock.getpeername() == listener.getsockname()


def test_refused_everywhere_is_told_at_once_with_every_address() -> None:
    ports = [processes.free_port(), processes.free_port()]
    resolver = answering(at("127.0.0.1", ports[0]), Address(socket.AF_INET6, ("::1", ports[1], 0, 0)))

    with pytest.raises(Refused) as caught:
        dial(NAME, environ={}, deadline=soon(60), resolver=resolver)
    assert str(NAME) in caught.value.message
    assert "127.0.0.1" in caught.value.message
    assert "::1" in caught.value.message


def test_silence_everywhere_ends_at_the_deadline(black_hole: Address) -> None:
    started = time.monotonic()
    with pytest.raises(NoAnswer) as caught:
        dial(NAME, environ={}, deadline=soon(0.6), resolver=answering(black_hole))
    assert 0.6 <= time.monotonic() - started < 3
    assert "no answer from 127.0.0.1" in caught.value.message


def test_a_deadline_that_has_passed_is_one(listener: socket.socket) -> None:
    with pytest.raises(NoAnswer):
        dial(HostPort("127.0.0.1", port_of(listener)), environ={}, deadline=soon(-1))


class Stuck:
    """A lookup that hangs until `let_go`."""

    def __init__(self) -> None:
        self.asked = 0
        self._gone = threading.Event()
        self._threads: list[threading.Thread] = []

    def __call__(self, _host: str, _port: int) -> list[Address]:
        self.asked += 1
        self._threads.append(threading.current_thread())
        self._gone.wait(60)
        return []

    def let_go(self) -> None:
        self._gone.set()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    lookup = Stuck()
    yield lookup
    lookup.let_go()


def test_a_resolver_that_hangs_does_not_outlast_the_deadline(stuck: Stuck) -> None:
    resolver = Resolver(stuck)
    for _ in range(3):
        started = time.monotonic()
        with pytest.raises(NameNotResolved, match="did not answer in time"):
            dial(NAME, environ={}, deadline=soon(0.2), resolver=resolver)
        assert time.monotonic() - started < 2
    assert stuck.asked == 1, "dials of the same name share a lookup in progress"


def test_a_lookup_that_failed_is_not_remembered(listener: socket.socket) -> None:
    answers: list[list[Address] | Exception] = [
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        [],
        [at("127.0.0.1", port_of(listener))],
    ]

    def lookup(_host: str, _port: int) -> list[Address]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    resolver = Resolver(lookup)
    for words in ("no name server answered", "Name or service not known", "no address"):
        with pytest.raises(NameNotResolved, match=words) as caught:
            dial(NAME, environ={}, deadline=soon(), resolver=resolver)
        assert NAME.host in caught.value.message
        assert caught.value.hint
    dial(NAME, environ={}, deadline=soon(), resolver=resolver).close()


@pytest.mark.parametrize("host", ["a" * 64 + ".invalid", "a..invalid", "a\0b"], ids=["long", "empty", "null"])
def test_what_is_no_name_does_not_resolve(host: str) -> None:
    with pytest.raises(NameNotResolved):
        dial(HostPort(host, 1), environ={}, deadline=soon())


@pytest.mark.parametrize("stage", ["resolver", "connect"])
def test_a_dial_can_be_cancelled(stage: str, stuck: Stuck, black_hole: Address) -> None:
    resolver = Resolver(stuck) if stage == "resolver" else answering(black_hole)
    cancelled, cancel = socket.socketpair()
    timer = threading.Timer(0.1, cancel.close)
    with cancelled, cancel:
        timer.start()
        with pytest.raises(DialCancelled):
            dial(NAME, environ={}, deadline=soon(30), resolver=resolver, cancelled=cancelled)
        timer.join()


def local_end(source: SourcePort) -> tuple[str, int]:
    return source.address, source.port


def test_the_source_port_is_reused(listener: socket.socket) -> None:
    source = SourcePort("127.0.0.1", processes.free_port())
    with dial(HostPort("127.0.0.1", port_of(listener)), environ={}, deadline=soon(), source=source) as sock:
        assert sock.getsockname() == local_end(source)


@pytest.mark.parametrize(
    "source",
    [
        SourcePort("192.0.2.1", 4711),
        SourcePort("not an address", 4711),
        SourcePort("::1", 4711),
        SourcePort("127.0.0.1", 70000),
    ],
    ids=str,
)
def test_a_source_address_that_is_not_ours_any_more_is_not_used(listener: socket.socket, source: SourcePort) -> None:
    with dial(HostPort("127.0.0.1", port_of(listener)), environ={}, deadline=soon(), source=source) as sock:
        assert sock.getsockname()[0] == "127.0.0.1"
        assert sock.getsockname()[1] != source.port


def test_a_source_port_in_use_is_not_used(listener: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        source = SourcePort("127.0.0.1", port_of(holder))
        with dial(HostPort("127.0.0.1", port_of(listener)), environ={}, deadline=soon(), source=source) as sock:
            assert sock.getsockname() != local_end(source)


def test_a_source_port_still_connected_to_the_same_jumphost_is_not_used(listener: socket.socket) -> None:
    """Here bind(2) succeeds, and connect(2) says EADDRNOTAVAIL."""
    source = SourcePort("127.0.0.1", processes.free_port())
    jumphost = HostPort("127.0.0.1", port_of(listener))
    with dial(jumphost, environ={}, deadline=soon(), source=source) as first:
        assert first.getsockname() == local_end(source)
        with dial(jumphost, environ={}, deadline=soon(), source=source) as second:
            assert second.getsockname() != local_end(source)


@pytest.mark.skipif(sys.platform != "linux", reason="TCP_REPAIR, and 127.0.0.2, are Linux's")
def test_dialled_from_its_old_port_the_jumphost_drops_the_dead_connection(listener: socket.socket) -> None:
    """DESIGN.md rule 11, also beside a second address that would connect first with the usual delay."""
    source = SourcePort("127.0.0.1", processes.free_port())
    jumphost = HostPort("127.0.0.1", port_of(listener))
    lost = dial(jumphost, environ={}, deadline=soon(), source=source)
    try:
        lost.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    except PermissionError:
        lost.close()
        pytest.skip("needs CAP_NET_ADMIN, to cut a connection without a word")
    dead, _ = listener.accept()
    lost.close()
    with dead, socket.create_server(("127.0.0.2", 0)) as other:
        resolver = answering(at("127.0.0.2", port_of(other)), at("127.0.0.1", port_of(listener)))
        again = dial(NAME, environ={}, deadline=soon(20), source=replace(source, peer="127.0.0.1"), resolver=resolver)
        with again:
            assert again.getsockname() == local_end(source)
            assert again.getpeername() == listener.getsockname()
            dead.settimeout(10)
            with pytest.raises(ConnectionResetError):
                dead.recv(1)


def test_it_connects_from_the_address_that_is_named(listener: socket.socket) -> None:
    """127.0.0.0/8 is all of this machine (Linux)."""
    port = port_of(listener)
    both = answering(Address(socket.AF_INET6, ("::1", port, 0, 0)), at("127.0.0.1", port))
    with dial(NAME, environ={}, deadline=soon(), bind_address="127.0.0.2", resolver=both) as sock:
        assert sock.getsockname()[0] == "127.0.0.2"
        connection, peer = listener.accept()
        connection.close()
        assert peer[0] == "127.0.0.2"


def test_a_source_port_of_another_address_is_not_reused(listener: socket.socket) -> None:
    port = port_of(listener)
    old = SourcePort("127.0.0.1", processes.free_port(), "127.0.0.1")
    found = answering(at("127.0.0.1", port))
    with dial(NAME, environ={}, deadline=soon(), bind_address="127.0.0.2", source=old, resolver=found) as sock:
        assert sock.getsockname()[0] == "127.0.0.2"


@pytest.mark.parametrize(
    ("bind_address", "why"), [("192.0.2.77", "has no such address"), ("::1", "no address of that kind")]
)
def test_an_address_that_cannot_be_had_is_said(listener: socket.socket, bind_address: str, why: str) -> None:
    found = answering(at("127.0.0.1", port_of(listener)))
    with pytest.raises(Unreachable, match=rf"from {bind_address} \(bind_address\): .*{why}") as refused:
        dial(NAME, environ={}, deadline=soon(), bind_address=bind_address, resolver=found)

    assert "Correct bind_address" in refused.value.hint


def test_a_tunnel_and_the_commands_connect_from_it(scene: AgentScene) -> None:
    config = scene.paths.config
    config.write_text(config.read_text().replace("target =", 'bind_address = "127.0.0.2"\ntarget ='))
    scene.paths.known_hosts.unlink()
    scene.customer.run("pin", "--fingerprint", scene.rig.fingerprint)
    assert '"ok": true' in scene.customer.run("test", "--json")
    scene.customer.run("up", "--daemon")

    assert pull(scene.port, 1000)[0] == 1000
    sockets = processes.checked([processes.need_program("ss", package="iproute2"), "-Htn", "src", "127.0.0.2"])
    assert f"127.0.0.1:{scene.rig.port}" in sockets
