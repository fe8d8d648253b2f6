"""What the supervisor publishes: the snapshot, its summary, and durations in the log."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest
from tests.rigs.simulated import EPOCH, ScriptedSession, Simulation, tunnel

from ioconnect.agent.supervisor.mailbox import Stop
from ioconnect.agent.supervisor.outage_log import format_duration
from ioconnect.agent.supervisor.publish import Publisher, stopped, summary
from ioconnect.agent.supervisor.selection import Selection
from ioconnect.agent.tunnel.events import Granted, Lost, SignedIn
from ioconnect.agent.tunnel.target_health import TargetHealth, reason_for, refused
from ioconnect.config.addresses import HostPort
from ioconnect.config.paths import under
from ioconnect.errors import AuthRefused, ConnectionLost, ReasonCode
from ioconnect.status import snapshots
from ioconnect.status.snapshots import Availability, State, TargetState

if TYPE_CHECKING:
    from pathlib import Path

REFUSED = Lost(AuthRefused("jumphost.test does not accept the key", hint="register it"), unclean=False)


@pytest.fixture
def simulation(tmp_path: Path) -> Simulation:
    """One tunnel that is connected and has carried something, one whose key is refused."""

    def script(session: ScriptedSession) -> None:
        session.emit(*((SignedIn(), Granted(1)) if session.tunnel.name == "good" else (REFUSED,)))
        session.counters.rtt = 0.01234
        session.counters.from_target = 7

    simulation = Simulation(script, tunnel("good", 1), tunnel("bad", 2), folder=tmp_path)
    simulation.world.post(10, Stop())
    return simulation


def test_the_snapshot_has_the_states_and_the_counters(simulation: Simulation, tmp_path: Path) -> None:
    seen: list[snapshots.Snapshot] = []
    publisher = Publisher(under(tmp_path), simulation.world, started_at="2026-11-22T10:00:00Z")
    under(tmp_path).state.mkdir()
    simulation.world.after(5, lambda: seen.append(publisher.publish(simulation.supervisor.runners.values())))
    simulation.run()

    good, bad = seen[0].tunnels
    assert (good.state, good.reason, good.rtt_ms, good.bytes_from_target) == (State.CONNECTED, None, 12.3, 7)
    assert good.host_key == "SHA256:simulated"
    assert good.next_attempt_at is None
    assert (bad.state, bad.reason and bad.reason.code) == (State.HELD, ReasonCode.AUTH_REFUSED)
    assert bad.rtt_ms is None
    assert snapshots.timestamp(EPOCH + 30) <= str(bad.next_attempt_at) <= snapshots.timestamp(EPOCH + 38)
    assert snapshots.read(under(tmp_path).status) == seen[0]
    assert summary(seen[0]) == "1 of 2 connected, 1 held; bad: jumphost.test does not accept the key (auth_refused)"


def test_the_target_is_shown_as_connections_found_it(simulation: Simulation, tmp_path: Path) -> None:
    """Unknown since the agent started, until the first of them."""
    reason = reason_for(HostPort("localhost", 3306), "127.0.0.1: Connection refused", {errno.ECONNREFUSED})
    runners = simulation.supervisor.runners
    runners["good"].counters.target = refused(TargetHealth(), reason, 7.0, EPOCH + 7)
    publisher = Publisher(under(tmp_path), simulation.world, started_at="2026-11-22T10:00:00Z")

    good, bad = publisher.snapshot(runners.values()).tunnels

    assert good.target_state == TargetState(Availability.DOWN, snapshots.timestamp(EPOCH + 7), 1, reason)
    assert bad.target_state == TargetState(Availability.UNKNOWN, snapshots.timestamp(EPOCH))


def test_an_outage_has_one_beginning_over_all_its_retries(tmp_path: Path) -> None:
    """`since` begins anew with each retry, `down_since` does not; connected it is null."""
    lost = Lost(ConnectionLost("the jumphost closed the connection"), unclean=False)

    def script(session: ScriptedSession) -> None:
        if 10 <= simulation.world.now() < 85:
            session.emit(lost)
            return
        session.emit(SignedIn(), Granted(1))
        if simulation.world.now() < 10:
            session.emit(lost, after=10)

    simulation = Simulation(script, tunnel("orders", 1), folder=tmp_path)
    publisher = Publisher(under(tmp_path), simulation.world, started_at="2026-11-22T10:00:00Z")
    seen: dict[int, snapshots.TunnelStatus] = {}

    def look(second: int) -> None:
        seen[second] = publisher.snapshot(simulation.supervisor.runners.values()).tunnels[0]

    for second in (5, 20, 80, 110):
        simulation.world.after(second, lambda second=second: look(second))
    simulation.world.post(120, Stop())
    simulation.run()

    assert [seen[second].down_since for second in seen] == [None, *[snapshots.timestamp(EPOCH + 10)] * 2, None]
    assert seen[80].since > seen[20].since > snapshots.timestamp(EPOCH + 9)
    assert seen[80].state is not State.CONNECTED


def test_a_tunnel_that_was_stopped_by_its_name_has_that_as_its_reason(simulation: Simulation, tmp_path: Path) -> None:
    """Whatever was wrong with it before."""
    selection = Selection()
    publisher = Publisher(under(tmp_path), simulation.world, started_at="then", selection=selection)
    simulation.run()
    selection.stop(("bad",))

    good, bad = publisher.snapshot(simulation.supervisor.runners.values()).tunnels

    assert good.reason is None
    assert bad.reason == stopped("bad")


def test_identity_and_security_are_those_in_use(tmp_path: Path) -> None:
    """Null while nothing is signed in; the host key, which was verified before, stays."""

    def script(session: ScriptedSession) -> None:
        if session.began > 0:
            return  # nothing answers
        session.emit(SignedIn())
        session.emit(Granted(1), after=5)
        session.emit(Lost(ConnectionLost("the jumphost closed the connection"), unclean=False), after=10)

    simulation = Simulation(script, folder=tmp_path)
    publisher = Publisher(under(tmp_path), simulation.world, started_at="then")
    seen: list[snapshots.TunnelStatus] = []
    for second in (2.0, 7.0, 20.0):
        simulation.world.after(
            second, lambda: seen.extend(publisher.snapshot(simulation.supervisor.runners.values()).tunnels)
        )
    simulation.world.post(21, Stop())
    simulation.run()

    assert [(each.state, each.identity) for each in seen] == [
        (State.CONNECTING, "SHA256:simulated key"),
        (State.CONNECTED, "SHA256:simulated key"),
        (State.CONNECTING, None),
    ]
    assert [each.security is None for each in seen] == [False, False, True]
    assert {each.host_key for each in seen} == {"SHA256:simulated"}


def test_a_snapshot_says_when_it_was_made_and_of_which_configuration(simulation: Simulation, tmp_path: Path) -> None:
    publisher = Publisher(under(tmp_path), simulation.world, started_at="then")

    snapshot = publisher.snapshot([])

    assert (snapshot.written_at, snapshot.config) == (snapshots.timestamp(EPOCH), str(under(tmp_path).config))


def test_a_failure_to_write_is_logged_once(
    simulation: Simulation, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = Publisher(under(tmp_path / "missing"), simulation.world, started_at="then")
    for _ in range(3):
        publisher.publish([])
    assert len(caplog.messages) == 1

    under(tmp_path / "missing").state.mkdir(parents=True)
    publisher.publish([])
    under(tmp_path / "missing").status.unlink()
    under(tmp_path / "missing").state.rmdir()
    publisher.publish([])
    assert len(caplog.messages) == 2


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (10.0, "10 s"),
        (59.9, "59 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_durations_have_their_two_largest_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
