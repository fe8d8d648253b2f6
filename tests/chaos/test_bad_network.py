"""A relay on the way that delays, cuts, resets, swallows, trickles and talks nonsense; the jumphost is the stub."""

from __future__ import annotations

import contextlib
import itertools
import queue
import random
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.rigs import processes, stub
from tests.rigs.customer import Customer
from tests.rigs.database import Database, call, exactly, pull
from tests.rigs.fault_relay import FaultRelay
from tests.rigs.simulated import ScriptedSession, Simulation

from ioconnect.agent.session.session import Session
from ioconnect.agent.supervisor.mailbox import Stop
from ioconnect.agent.tunnel.counters import Counters
from ioconnect.agent.tunnel.events import Closed, Lost, PortRefused, SignedIn
from ioconnect.config import configuration
from ioconnect.config.configuration import AgentSettings
from ioconnect.errors import AuthRefused, PortBusy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.rigs.sshd import Sshd

    Figure = Callable[[str], None]


class Scene:
    """Jumphost, relay, customer and database; `up` connects, through the relay."""

    def __init__(self, rig: stub.StubRig, relay: FaultRelay, database: Database, customer: Customer) -> None:
        self.rig, self.relay, self.database, self.customer = rig, relay, database, customer
        self.port = processes.free_port()
        self.paths = customer.paths
        rig.authorize(customer.keygen(), self.port)
        endpoint, target = f"{rig.host}:{self.port}", f"127.0.0.1:{database.port}"
        customer.register("default", endpoint, target, ssh_port=relay.port)
        self.paths.known_hosts.write_text(f"[{rig.host}]:{relay.port} {rig.host_key_line}\n")

    def up(self, **settings: float) -> None:
        lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
        self.paths.config.write_text(f"{self.paths.config.read_text()}\n[agent]\n{lines}")
        self.customer.run("up", "--daemon")

    def back(self, since: float, *, deadline: float) -> float:
        """Wait for the forward; return the seconds from `since`."""

        def works() -> bool:
            with contextlib.suppress(OSError):
                return pull(self.port, 1000)[0] == 1000
            return False

        processes.wait_until(works, deadline=deadline, what="the forward works", instead=self.customer.log_text)
        return time.monotonic() - since


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with stub.running(tmp_path / "stub") as rig, FaultRelay(rig.port) as relay, Database() as database:
        customer = Customer(tmp_path / "home")
        try:
            yield Scene(rig, relay, database, customer)
        finally:
            customer.close()


@pytest.mark.parametrize("how", ["cut", "reset"])
def test_a_connection_that_ends_is_back_at_once(scene: Scene, figure: Figure, how: str) -> None:
    scene.up()
    with call(scene.port, b"E") as talk:
        talk.sendall(b"!")
        assert exactly(talk, 1) == b"!"

        getattr(scene.relay, how)()
        began = time.monotonic()
        processes.wait_until(lambda: scene.database.endings == ["reset"], what="the database's connection is reset")
        back = scene.back(began, deadline=10)

    figure(f"connection {how}: forward back after {back:.2f} s")
    assert back <= 3.0
    assert scene.customer.tunnel()["reconnects"] == 1


def test_a_way_that_refuses_for_five_seconds(scene: Scene, figure: Figure) -> None:
    scene.up()
    scene.relay.refuse()
    scene.relay.reset()
    end = time.monotonic() + 5
    scene.customer.wait_for("backoff")
    processes.wait_until(lambda: time.monotonic() > end, deadline=6)

    scene.relay.listen()
    back = scene.back(time.monotonic(), deadline=10)

    figure(f"refused for 5 s: forward back {back:.2f} s after that")
    assert back <= 5.0


@pytest.mark.alone
def test_a_black_hole_is_noticed_by_the_keepalive(scene: Scene, figure: Figure) -> None:
    """With an interval of one second and one probe: two seconds."""
    scene.up(keepalive_interval=1)
    with call(scene.port, b"E") as talk:
        talk.sendall(b"!")
        assert exactly(talk, 1) == b"!"
        scene.relay.black_hole()
        began = time.monotonic()
        processes.wait_until(lambda: scene.database.endings == ["reset"])
        noticed = time.monotonic() - began
    lost = scene.customer.tunnel()
    scene.relay.heal()
    back = scene.back(time.monotonic(), deadline=35)

    figure(f"black hole, keepalive 1/1: noticed after {noticed:.2f} s, back {back:.2f} s after it is gone")
    assert noticed <= 3.0
    assert lost["reason"]["code"] == "keepalive_timeout"


def test_one_byte_at_a_time_is_slow_and_right(scene: Scene) -> None:
    scene.relay.trickle = 0.0
    scene.up()

    assert pull(scene.port, 20_000)[0] == 20_000


def test_a_long_way(scene: Scene, figure: Figure) -> None:
    scene.relay.delay = 0.15
    scene.up()

    assert pull(scene.port, 100_000)[0] == 100_000
    round_trip = scene.customer.tunnel()["rtt_ms"]
    figure(f"300 ms of delay: status shows {round_trip} ms")
    assert round_trip >= 300


def test_lines_before_the_banner_are_no_trouble(scene: Scene) -> None:
    """RFC 4253 §4.2 allows them."""
    scene.relay.garbage = b"Welcome to the proxy\r\n\x1b[31mof doom\r\n"
    scene.up()

    assert pull(scene.port, 1000)[0] == 1000


def test_garbage_before_the_banner_is_named_and_retried(scene: Scene) -> None:
    scene.relay.garbage = random.Random(1).randbytes(40_000).replace(b"\n", b"")
    scene.customer.run("up", "--daemon", "--wait", "1", expect=75)
    tunnel = scene.customer.wait_for("backoff")

    assert tunnel["reason"]["code"] == "connection_lost"
    assert "ssh_port" in tunnel["reason"]["hint"]
    assert scene.customer.log_text().isascii() or scene.customer.log_text().isprintable()
    scene.relay.heal()
    scene.back(time.monotonic(), deadline=10)


@pytest.mark.parametrize("unharmed", [0, 30, 900, 1500])
def test_a_server_that_trickles_meets_one_deadline(scene: Scene, unharmed: int) -> None:
    """Before the banner, in it, in the key exchange, in the sign-in: each byte is life, but there is one deadline."""
    scene.relay.trickle, scene.relay.unharmed = 0.3, unharmed
    patience, reports = 1.2, queue.SimpleQueue[Any]()
    (tunnel,) = configuration.load(scene.paths.config).tunnels
    session = Session(tunnel, AgentSettings(), scene.paths, Counters(), reports.put, patience=patience)

    began = time.monotonic()
    session.start()
    last = reports.get(timeout=10)
    took = time.monotonic() - began

    assert isinstance(last, Lost)
    assert patience <= took <= patience + 3.0
    assert "within 1 s" in last.fault.message


def test_a_refused_key_is_tried_slowly_and_at_once_when_asked(sshd: Sshd, tmp_path: Path, figure: Figure) -> None:
    customer = Customer(tmp_path / "home")
    port = processes.free_port()
    try:
        sshd.authorize(customer.run("keygen"), port)
        permits = sshd.authorized_keys.read_text()
        where = ("--endpoint", f"{sshd.host}:{port}", "--to", "localhost:1", "--ssh-port", str(sshd.port))
        customer.run("register", *where, "--ssh-user", sshd.user)
        customer.paths.known_hosts.write_text(sshd.known_hosts_line + "\n")
        customer.run("up", "--daemon")
        sshd.revoke_all()
        sshd.kill_sessions()
        assert customer.wait_for("held")["reason"]["code"] == "auth_refused"

        sshd.authorized_keys.write_text(permits)
        asked = time.monotonic()
        customer.run("reconnect")
        customer.wait_for("connected")
        took = time.monotonic() - asked
    finally:
        customer.close()
    figure(f"key refused: connected {took:.2f} s after `reconnect`, the key being there again")
    assert took <= 5.0


def test_a_refused_key_in_numbers(tmp_path: Path, figure: Figure) -> None:
    """A simulated day, in the real machine and backoff."""
    dials: list[float] = []

    def refuse(session: ScriptedSession) -> None:
        dials.append(session.world.now())
        session.emit(Lost(AuthRefused("no", hint="key"), unclean=False), after=0.3)

    simulation = Simulation(refuse, folder=tmp_path)
    simulation.world.post(24 * 3600.0, Stop())
    simulation.run()

    first_minute = sum(moment < 60 for moment in dials)
    figure(f"key refused: {first_minute} attempts in the first minute, {len(dials)} in a day")
    assert first_minute <= 3
    assert len(dials) <= 110


def test_a_port_that_stays_held_in_numbers(tmp_path: Path, figure: Figure) -> None:
    """A simulated hour of standby: asked again every few seconds, on the one session."""
    asked: list[float] = []

    def sign_in(session: ScriptedSession) -> None:
        refused = PortRefused(PortBusy("held", hint="wait"))

        def ask() -> None:
            asked.append(session.world.now())
            session.emit(refused, after=0.05)

        session.request_forward = ask  # type: ignore[method-assign]
        session.on_close = lambda: session.emit(Closed(), after=0.05)
        session.emit(SignedIn(), refused, after=0.3)

    simulation = Simulation(sign_in, folder=tmp_path)
    simulation.world.post(3600.0, Stop())
    simulation.run()

    longest = max(later - earlier for earlier, later in itertools.pairwise(asked))
    figure(f"port held for an hour: {len(simulation.world.sessions)} sign-in, asked at most {longest:.1f} s apart")
    assert len(simulation.world.sessions) == 1
    assert longest <= 5.0
