"""When a target is probed, how often, and how the probe leaves: scripted sockets on a clock of the test's own."""

from __future__ import annotations

import errno
import socket
import struct
from typing import TYPE_CHECKING, cast

import pytest
from tests.rigs.scripted_target import FOREVER, ScriptedNetwork, ScriptedSocket

from ioconnect.agent.dial.resolve import Address
from ioconnect.agent.targets import target_connect
from ioconnect.agent.targets.mysql_handshake import MAX_ROUNDS, QUIT, USER, RefusedSignIn
from ioconnect.agent.targets.target_connect import CONNECT_TIMEOUT
from ioconnect.agent.targets.target_probe import GREETING_TIMEOUT, MYSQL_TIMEOUT
from ioconnect.agent.targets.target_watch import REPORT_INTERVAL, TargetWatch
from ioconnect.agent.tunnel.counters import Counters
from ioconnect.config.addresses import HostPort
from ioconnect.errors import ReasonCode
from ioconnect.ssh.loop import READ, WRITE
from ioconnect.status.records import Availability

if TYPE_CHECKING:
    from collections.abc import Callable

    from ioconnect.agent.targets.target_addresses import TargetAddresses
    from ioconnect.ssh.loop import Loop

REFUSED = frozenset({errno.ECONNREFUSED})
UP, DOWN, UNKNOWN = Availability.UP, Availability.DOWN, Availability.UNKNOWN


class World(ScriptedNetwork):
    """Loop, clock, resolver and network in one."""

    problem = ""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.known = [Address(socket.AF_INET, ("10.0.0.1", port))]
        self.reports: list[tuple[float, Availability]] = []
        self.counters = Counters()
        self.port = port
        self.watch_ = self.new_watch()

    def new_watch(self) -> TargetWatch:
        return TargetWatch(
            HostPort("10.0.0.1", self.port),
            cast("TargetAddresses", self),
            cast("Loop", self),
            self.counters,
            on_change=lambda: self.reports.append((self.now, self.counters.target.state)),
        )

    def expire(self, now: float) -> float:
        return self.watch_.expire(now)

    # TargetAddresses

    def get(self, callback: Callable[[list[Address]], None]) -> None:
        callback(self.known)

    def connected(self, _address: Address) -> None: ...

    def silent(self, _address: Address) -> None: ...

    def invalidate(self) -> None: ...

    # the test

    def says(self, *data: bytes) -> None:
        """Have the server send something to the newest socket."""
        for piece in data:
            self.sockets[-1].incoming.append(piece)
            self.ready(READ)

    def refuse(self, times: int = 1) -> None:
        """Have that many real connections fail."""
        for _ in range(times):
            self.watch_.refused("10.0.0.1: Connection refused", REFUSED)

    @property
    def state(self) -> Availability:
        return self.counters.target.state


@pytest.fixture
def make_world(monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    """Return a function that makes a world whose target listens, or not, on this port."""

    def make(port: int = 5432) -> World:
        world = World(port)
        monkeypatch.setattr(target_connect.socket, "socket", world.make_socket)
        return world

    return make


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """A world whose target is a PostgreSQL by its port."""
    return make_world()


def test_nothing_is_due_while_the_target_is_unknown_or_up(world: World) -> None:
    """No probe, and no wake-up for one."""
    world.advance(1000)
    assert (world.state, world.next_timer) == (UNKNOWN, FOREVER)
    for _ in range(1000):
        world.watch_.answered()
    world.advance(1000)

    assert (world.state, world.next_timer, world.attempts) == (UP, FOREVER, [])
    assert len(world.reports) == 1


def test_a_refusal_is_reported_at_once(world: World) -> None:
    world.refuse()

    health = world.counters.target
    assert (health.state, health.failed) == (DOWN, 1)
    assert health.reason is not None
    assert health.reason.code is ReasonCode.TARGET_UNREACHABLE
    assert world.reports == [(world.now, DOWN)]


def test_probes_come_at_growing_intervals_one_at_a_time_until_one_succeeds(world: World) -> None:
    began = world.now
    world.refuse()
    world.advance(300)
    waits = [later - earlier for earlier, later in zip([began, *world.attempts], world.attempts, strict=False)]

    assert waits[0] == 5
    assert waits == sorted(waits)
    assert waits[-1] == 30
    assert all(made.closed for made in world.sockets)
    assert (world.state, world.counters.target.failed) == (DOWN, 1)
    assert len(world.reports) == 1  # the reason is the same

    world.connect_result = 0
    world.advance(30)
    probes = len(world.attempts)

    assert world.state is UP
    assert world.reports[-1] == (world.attempts[-1], UP)
    assert world.sockets[-1].closed
    world.advance(1000)
    assert len(world.attempts) == probes
    assert world.next_timer == FOREVER


def test_connections_that_fail_meanwhile_make_no_more_probes(world: World) -> None:
    world.refuse()
    for _ in range(300):
        world.advance(1)
        world.refuse()
    hurried = len(world.attempts)

    assert world.counters.target.failed == 301
    assert len(world.reports) == 1
    assert hurried <= 14


def test_a_real_connection_that_succeeds_ends_the_probing(world: World) -> None:
    world.refuse()
    world.advance(3)
    world.watch_.answered()
    world.advance(1000)

    assert (world.state, world.attempts) == (UP, [])
    assert world.counters.target.outage is not None
    assert world.counters.target.outage.failed == 1


def test_a_real_connection_that_succeeds_calls_a_probe_back(world: World) -> None:
    world.refuse()
    world.connect_result = errno.EINPROGRESS
    world.advance(5)
    assert len(world.watched) == 1
    world.watch_.answered()

    assert world.sockets[-1].closed
    assert not world.watched
    world.advance(1000)
    assert len(world.attempts) == 1


def test_a_probe_that_nobody_answers_ends(world: World) -> None:
    """Its reason is another, so it is reported."""
    world.refuse()
    world.connect_result = errno.EINPROGRESS
    world.advance(5 + CONNECT_TIMEOUT)

    assert len(world.attempts) == 1
    assert world.sockets[-1].closed
    reason = world.counters.target.reason
    assert reason is not None
    assert reason.message == "cannot connect to 10.0.0.1:5432: 10.0.0.1: no answer in 10 s"
    assert [state for _, state in world.reports] == [DOWN, DOWN]
    world.advance(7.5)
    assert len(world.attempts) == 2


def test_a_probe_that_takes_its_time(world: World) -> None:
    world.refuse()
    world.connect_result = errno.EINPROGRESS
    world.advance(6)
    world.connect_result = 0
    world.ready(WRITE)

    assert world.state is UP
    assert world.sockets[-1].closed
    assert not world.watched


def test_a_connection_to_itself_is_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens on a port of the ephemeral range, and the kernel chose just that one for the probe."""
    monkeypatch.setattr(ScriptedSocket, "getsockname", lambda _self: ("10.0.0.1", 5432))  # its peer's
    world.connect_result = 0
    world.refuse()
    world.advance(60)

    assert world.state is DOWN
    assert len(world.attempts) > 1
    assert all(made.closed for made in world.sockets)


def test_a_name_that_does_not_resolve_any_more(world: World) -> None:
    world.refuse()
    world.known, world.problem = [], "no such name"
    world.advance(60)

    assert world.attempts == []
    reason = world.counters.target.reason
    assert reason is not None
    assert reason.message.endswith("its name does not resolve (no such name)")
    assert world.next_timer < FOREVER


def test_a_target_that_changes_its_mind_is_reported_twice_a_second_at_most(world: World) -> None:
    for _ in range(1000):
        world.refuse()
        world.watch_.answered()
        world.advance(0.01)
    world.advance(REPORT_INTERVAL)

    assert 15 <= len(world.reports) <= 10 / REPORT_INTERVAL + 2
    assert world.reports[-1][1] is UP


def test_the_next_session_goes_on(world: World) -> None:
    """What one session found out holds for the next, which probes on; the old one leaves nothing open."""
    world.refuse()
    world.connect_result = errno.EINPROGRESS
    world.advance(5)
    world.watch_.cut()
    assert world.sockets[-1].closed
    assert not world.watched
    world.connect_result = 0
    world.watch_ = world.new_watch()
    world.advance(5)

    assert world.state is UP
    assert world.counters.target.outage is not None
    assert world.counters.target.outage.seconds == 10


# --- MySQL and MariaDB


def packet(body: bytes, sequence: int) -> bytes:
    return len(body).to_bytes(3, "little") + bytes([sequence]) + body


GREETING = packet(
    b"\x0a8.4.0\0"
    + struct.pack("<I8sxH", 7, b"challeng", 0xFFFF)
    + b"\xff\x02\0\xff\xdf\x15"
    + bytes(10)
    + b"twelve bytes\0"
    b"caching_sha2_password\0",
    0,
)
DENIED = b"\xff\x15\x04#28000Access denied for user 'ioconnect_probe'"
SWITCH = b"\xfecaching_sha2_password\0" + b"c" * 20 + b"\0"


def test_mysql_gets_a_whole_handshake(make_world: Callable[..., World]) -> None:
    """It would count a hang-up before that, and lock the pipeline out. The target counts as up before it is over."""
    world = make_world(3306)
    world.refuse()
    world.connect_result = 0
    world.advance(5)
    assert world.state is UP
    probe = world.sockets[-1]
    assert not probe.closed
    world.says(GREETING[:3], GREETING[3:])

    assert probe.sent[3] == 1
    assert int.from_bytes(probe.sent[:3], "little") == len(probe.sent) - 4
    assert USER + b"\0" in probe.sent
    said = len(probe.sent)
    world.says(packet(SWITCH, 2))
    assert probe.sent[said:] == packet(b"", 3)
    world.says(packet(DENIED, 4))
    assert probe.closed
    assert not world.watched
    world.advance(1000)
    assert world.next_timer == FOREVER
    assert len(world.attempts) == 1


def test_mysql_on_another_port_is_known_by_its_greeting(make_world: Callable[..., World]) -> None:
    world = make_world(13306)
    world.refuse()
    world.connect_result = 0
    world.advance(5 + GREETING_TIMEOUT / 2)
    world.says(GREETING)
    world.advance(MYSQL_TIMEOUT / 2)  # it has more time then
    assert not world.sockets[-1].closed
    world.says(packet(DENIED, 2))

    assert world.sockets[-1].closed


@pytest.mark.parametrize(("port", "seconds"), [(3306, MYSQL_TIMEOUT), (13306, GREETING_TIMEOUT)])
def test_a_server_that_says_nothing_is_not_waited_for_long(
    make_world: Callable[..., World], port: int, seconds: float
) -> None:
    world = make_world(port)
    world.refuse()
    world.connect_result = 0
    world.advance(5 + seconds - 0.1)
    assert not world.sockets[-1].closed
    world.advance(0.2)

    assert world.sockets[-1].closed
    assert not world.watched
    assert world.next_timer == FOREVER


def test_one_probe_at_a_time(make_world: Callable[..., World]) -> None:
    """The target is down again before the last probe's handshake is over: the next one waits for its end."""
    world = make_world(3306)
    world.refuse()
    world.connect_result = 0
    world.advance(5)
    world.refuse()
    world.advance(MYSQL_TIMEOUT - 0.1)
    assert len(world.attempts) == 1
    world.advance(0.2)

    assert len(world.attempts) == 2
    assert world.sockets[0].closed
    assert world.state is UP


@pytest.mark.parametrize(
    "said", [b"SSH-2.0-x\r\n", b"", packet(b"\xff\x69\x04Host is blocked", 0), bytes(4), b"\0" * 40]
)
def test_any_other_greeting_ends_it(make_world: Callable[..., World], said: bytes) -> None:
    world = make_world(3306)
    world.refuse()
    world.connect_result = 0
    world.advance(5)
    world.says(said)

    assert world.sockets[-1].closed
    assert world.sockets[-1].sent == b""
    assert world.state is UP


def test_a_server_that_breaks_off_ends_it(make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(3306)
    world.refuse()
    world.connect_result = 0
    world.advance(5)

    def broken(_self: object, _size: int) -> bytes:
        raise ConnectionResetError

    monkeypatch.setattr(ScriptedSocket, "recv", broken)
    world.ready(READ)

    assert world.sockets[-1].closed


def test_a_sign_in_that_succeeds_is_left_politely() -> None:
    """An anonymous user exists there."""
    sign_in = RefusedSignIn()
    sign_in.feed(GREETING)

    assert sign_in.feed(packet(b"\0\0\0\2\0\0\0", 2)) == QUIT
    assert sign_in.over


def test_a_sign_in_without_end_ends() -> None:
    sign_in = RefusedSignIn()
    sign_in.feed(GREETING)
    for sequence in range(MAX_ROUNDS):
        assert sign_in.feed(packet(b"\x01\x04", 2 * sequence + 2))
    assert not sign_in.over
    assert sign_in.feed(packet(b"\x01\x04", 99)) == b""
    assert sign_in.over
