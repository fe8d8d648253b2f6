"""Happy eyeballs to a target: scripted sockets on a clock of the test's own."""

from __future__ import annotations

import errno
import itertools
import socket
from typing import TYPE_CHECKING, cast

import pytest
from tests.rigs.scripted_target import FOREVER, SILENT, ScriptedNetwork, ScriptedSocket

from ioconnect.agent.dial.resolve import Address
from ioconnect.agent.targets import target_connect
from ioconnect.agent.targets.target_addresses import MAX_AGE, TargetAddresses
from ioconnect.agent.targets.target_connect import CONNECT_TIMEOUT, LOOKUP_PATIENCE, RETRY_DELAY, TargetConnect
from ioconnect.config.addresses import HostPort, SocketPath
from ioconnect.ssh.loop import WRITE

if TYPE_CHECKING:
    from ioconnect.ssh.loop import Loop

A, B, C = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
REFUSED = errno.ECONNREFUSED


class Connect(TargetConnect):
    """Remembers its outcome."""

    def __init__(self, target: TargetAddresses, loop: Loop) -> None:
        super().__init__(target, loop)
        self.won = ""
        self.why = ""
        self.codes: frozenset[int] = frozenset()

    def connected(self, sock: socket.socket) -> None:
        self.won = cast("ScriptedSocket", sock).host

    def failed(self, why: str, codes: frozenset[int]) -> None:
        self.why, self.codes = why, codes


class World(ScriptedNetwork):
    """A name with addresses, of which each connects, refuses or is silent; and the connects to it."""

    def __init__(self, *hosts: str) -> None:
        super().__init__()
        self.hosts: list[str] = list(hosts)
        self.error: Exception | None = None
        self.target = TargetAddresses(HostPort("database.test", 5432), cast("Loop", self), self.lookup)
        self.connects: list[Connect] = []

    def lookup(self, _host: str, port: int) -> list[Address]:
        if self.error is not None:
            raise self.error
        return [Address(socket.AF_INET, (host, port)) for host in self.hosts]

    def expire(self, now: float) -> float:
        for connect in self.connects:
            if not connect.over:
                connect.expire(now)
        return min((connect.due for connect in self.connects if not connect.over), default=FOREVER)

    def begin(self, *, hangs: bool = False) -> Connect:
        """Begin a connect, whose lookup is answered if it needs one."""
        connect = Connect(self.target, cast("Loop", self))
        self.connects.append(connect)
        connect.begin()
        if connect._queue is None and not hangs:
            self.run_posted()
        return connect

    def answers(self, host: str) -> None:
        """Have the newest connect to this host succeed."""
        self.results[host] = 0
        self.ready(WRITE, next(made for made in reversed(self.sockets) if made.host == host))

    @property
    def tried(self) -> list[tuple[str, float]]:
        """Which host was tried when, in seconds since the first."""
        return [
            (made.host, round(at - self.attempts[0], 6)) for made, at in zip(self.sockets, self.attempts, strict=True)
        ]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Three addresses, of which the first two are silent and the third listens."""
    made = World(A, B, C)
    made.results = {A: SILENT, B: SILENT, C: 0}
    monkeypatch.setattr(target_connect.socket, "socket", made.make_socket)
    return made


def test_a_silent_address_costs_250_ms(world: World) -> None:
    connect = world.begin()
    world.advance(3)

    assert connect.won == C
    assert world.tried == [(A, 0), (B, 0.25), (C, 0.5)]
    assert [made.closed for made in world.sockets] == [True, True, False]
    assert (world.watched, world.next_timer) == ({}, FOREVER)


def test_the_next_connection_pays_nothing(world: World) -> None:
    """And if the one that answered is gone, the silent ones are still last."""
    world.begin()
    world.advance(1)
    assert world.begin().won == C
    assert world.tried[3:] == [(C, 1)]

    world.hosts = [A, B, C, "10.0.0.4"]
    world.results |= {C: REFUSED, "10.0.0.4": 0}
    world.advance(MAX_AGE)
    assert world.begin().won == "10.0.0.4"
    assert [host for host, _ in world.tried[4:]] == [C, "10.0.0.4"]


def test_an_address_that_fails_starts_the_next_at_once(world: World) -> None:
    world.results[A] = REFUSED
    connect = world.begin()
    world.results[B] = REFUSED
    world.advance(0.1)
    world.ready(WRITE)  # B refuses

    assert connect.won == C
    assert world.tried == [(A, 0), (B, 0), (C, 0.1)]


def test_a_slow_address_may_still_be_the_first(world: World) -> None:
    """And who was not given the 250 ms is not silent."""
    world.results[C] = SILENT
    connect = world.begin()
    world.advance(0.3)
    world.answers(A)

    assert connect.won == A
    assert [made.closed for made in world.sockets] == [False, True]
    world.results[A] = REFUSED
    world.begin()
    assert [host for host, _ in world.tried[2:]] == [A, B]


def test_all_together_have_ten_seconds(world: World) -> None:
    world.results[C] = SILENT
    connect = world.begin()
    world.advance(CONNECT_TIMEOUT - 0.1)
    assert (connect.over, len(world.watched)) == (False, 3)
    world.advance(0.2)

    assert connect.why == "; ".join(f"{host}: no answer in 10 s" for host in (A, B, C))
    assert connect.codes == {errno.ETIMEDOUT}
    assert all(made.closed for made in world.sockets)
    assert (world.watched, world.next_timer) == ({}, FOREVER)


def test_a_cancelled_one_leaves_nothing(world: World) -> None:
    connect = world.begin()
    world.advance(0.3)
    connect.cancel()

    assert all(made.closed for made in world.sockets)
    assert not world.watched
    world.advance(20)
    assert (connect.won, connect.why, len(world.sockets)) == ("", "", 2)


@pytest.mark.parametrize("outcomes", list(itertools.product((SILENT, REFUSED, 0), repeat=3)))
def test_whatever_the_addresses_do_one_socket_is_left_or_none(world: World, outcomes: tuple[int, ...]) -> None:
    world.results = dict(zip((A, B, C), outcomes, strict=True))
    connect = world.begin()
    world.advance(20)

    assert bool(connect.won) is (0 in outcomes)
    assert bool(connect.won) is not bool(connect.why)
    assert sum(not made.closed for made in world.sockets) == bool(connect.won)
    assert (world.watched, world.next_timer) == ({}, FOREVER)


def test_a_single_address_has_no_timer_of_250_ms(world: World) -> None:
    world.hosts = [A]
    world.begin()

    assert world.next_timer == world.now + CONNECT_TIMEOUT


def test_a_connection_to_itself_is_no_connection(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScriptedSocket, "getsockname", ScriptedSocket.getpeername)
    world.hosts = [C]
    connect = world.begin()

    assert (connect.won, connect.why) == ("", f"{C}: Connection refused")
    assert socket.SO_LINGER in world.sockets[0].options  # reset, so that the port is free at once


# --- names


def test_a_refusal_beside_a_resolver_that_fails(world: World) -> None:
    """Both are told, and the next connection works again."""
    world.hosts = [C]
    world.begin()
    world.results[C] = REFUSED
    world.error = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    again = "its name could not be looked up again (Temporary failure in name resolution)"
    assert world.begin().why == f"{C}: Connection refused"
    assert world.begin().why == f"{C}: Connection refused; {again}"
    world.results[C] = 0

    assert world.begin().won == C


def test_a_resolver_that_hangs_is_not_waited_for_where_an_older_answer_is_known(world: World) -> None:
    world.hosts = [C]
    world.begin()
    world.advance(MAX_AGE)
    connect = world.begin(hangs=True)
    world.advance(LOOKUP_PATIENCE - 0.1)
    assert not connect.over
    world.advance(0.2)

    assert connect.won == C
    assert world.begin(hangs=True).won == C  # at once


def test_a_resolver_that_hangs_at_first(world: World) -> None:
    connect = world.begin(hangs=True)
    world.advance(CONNECT_TIMEOUT)

    assert connect.why == "no answer in 10 s from the resolver"
    assert connect.codes == frozenset()


# --- idle connections


@pytest.mark.parametrize(("host", "is_probed"), [(C, True), ("127.0.0.1", False), ("127.9.9.9", False)])
def test_an_idle_database_is_probed_unless_it_is_here(world: World, host: str, is_probed: bool) -> None:  # noqa: FBT001  a case
    world.hosts = [host]
    world.results[host] = 0
    world.begin()
    options = world.sockets[0].options

    assert (socket.SO_KEEPALIVE in options) is is_probed
    if is_probed:
        assert (options[socket.TCP_KEEPIDLE], options[socket.TCP_KEEPCNT]) == (60, 3)
        assert options[socket.TCP_KEEPINTVL] * 3 + 60 <= 120


def test_an_option_that_cannot_be_set_fails_no_connection(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS setsockopt(2) returns EINVAL for a peer that reset meanwhile."""

    def invalid(*_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(ScriptedSocket, "setsockopt", invalid)
    world.hosts = [C]

    assert world.begin().won == C
    assert not world.sockets[0].closed


# --- Unix sockets

SOCKET = "/run/mysqld/mysqld.sock"


@pytest.fixture
def socket_world(world: World) -> World:
    """The target is a Unix socket whose server's backlog is full."""
    world.target = TargetAddresses(SocketPath(SOCKET), cast("Loop", world), world.lookup)
    world.results = {SOCKET: errno.EAGAIN}
    return world


def test_a_socket_with_a_full_backlog_is_tried_again(socket_world: World) -> None:
    """No event tells that there is room again (connect(2)); and it is no TCP, of which nothing is set."""
    connect = socket_world.begin()
    socket_world.advance(1)
    assert not connect.over
    socket_world.results[SOCKET] = 0
    socket_world.advance(2 * RETRY_DELAY)

    assert connect.won == SOCKET
    assert [made.closed for made in socket_world.sockets] == [True] * (len(socket_world.sockets) - 1) + [False]
    assert len(socket_world.sockets) <= 1 / RETRY_DELAY + 3
    assert socket_world.sockets[-1].options == {}
    assert socket_world.next_timer == FOREVER


def test_a_socket_whose_backlog_stays_full(socket_world: World) -> None:
    connect = socket_world.begin()
    socket_world.advance(CONNECT_TIMEOUT + 1)

    assert (connect.why, connect.codes) == (f"{SOCKET}: Resource temporarily unavailable", {errno.EAGAIN})
    assert all(made.closed for made in socket_world.sockets)


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EACCES, errno.ECONNREFUSED])
def test_a_socket_that_is_not_there_or_closed_is_refused_at_once(socket_world: World, code: int) -> None:
    socket_world.results[SOCKET] = code
    connect = socket_world.begin()

    assert connect.codes == {code}
    assert connect.why.startswith(f"{SOCKET}: ")
    socket_world.results[SOCKET] = 0
    assert socket_world.begin().won == SOCKET  # without a lookup
