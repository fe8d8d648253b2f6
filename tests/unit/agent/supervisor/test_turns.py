"""Many tunnels of one jumphost in the real supervisor, in a simulated world: they dial a few at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.rigs.simulated import ScriptedSession, Simulation, tunnel

from ioconnect.agent.supervisor.mailbox import Reconnect, Reload, Stop, StopTunnels
from ioconnect.agent.tunnel.events import Closed, Granted, Lost, SignedIn
from ioconnect.agent.tunnel.state import Phase
from ioconnect.agent.tunnel.turnstile import SLOTS, Progress
from ioconnect.config.addresses import HostPort
from ioconnect.errors import ConnectionLost
from ioconnect.status.snapshots import State

if TYPE_CHECKING:
    from pathlib import Path

    from ioconnect.config.configuration import Tunnel

SIGN_IN = 0.3  # seconds


def tunnels(count: int) -> list[Tunnel]:
    return [tunnel(f"{number:03}", 1 + number) for number in range(count)]


def connects(session: ScriptedSession) -> None:
    session.emit(SignedIn(), Granted(1), after=SIGN_IN)
    session.on_close = lambda: session.emit(Closed(), after=0.05)


def hangs(session: ScriptedSession) -> None:
    """Never get a connection."""
    session.peer_address = session.host_key = None
    session.on_close = lambda: session.emit(Closed())


def most_at_once(simulation: Simulation) -> int:
    began = [session.began for session in simulation.world.sessions]
    return max(sum(moment <= each < moment + SIGN_IN for each in began) for moment in began)


def test_fifty_tunnels_sign_in_a_few_at_a_time_at_the_start_and_after_a_common_loss(tmp_path: Path) -> None:
    simulation = Simulation(connects, *tunnels(50), folder=tmp_path)

    def lose_all() -> None:
        for session in list(simulation.world.sessions):
            session.report(Lost(ConnectionLost("the jumphost restarts", hint=""), unclean=False))

    simulation.world.after(100, lose_all)
    simulation.run_until_idle()

    runners = simulation.supervisor.runners.values()
    assert all(runner.state.shown is State.CONNECTED for runner in runners)
    assert [(runner.state.attempts, runner.state.reconnects) for runner in runners] == [(2, 1)] * 50
    assert most_at_once(simulation) == SLOTS
    first, second = (simulation.world.sessions[part] for part in (slice(50), slice(50, 100)))
    assert max(session.began for session in first) <= 50 / SLOTS * SIGN_IN
    assert max(session.began for session in second) - 100 <= 50 / SLOTS * SIGN_IN + 1


def test_eight_tunnels_and_those_of_other_jumphosts_dial_at_once(tmp_path: Path) -> None:
    others = [replace(each, name=f"other {each.name}", ssh_port=22) for each in tunnels(SLOTS)]
    simulation = Simulation(connects, *tunnels(SLOTS), *others, folder=tmp_path)
    simulation.run_until_idle()

    assert [session.began for session in simulation.world.sessions] == [0.0] * 2 * SLOTS


def test_a_tunnel_behind_thirty_that_hang_waits_a_few_seconds(tmp_path: Path) -> None:
    good = tunnel("good", 999)
    simulation = Simulation(
        lambda session: connects(session) if session.tunnel == good else hangs(session),
        *tunnels(30),
        good,
        folder=tmp_path,
    )
    simulation.world.post(30, Stop())
    simulation.run()

    (began,) = [session.began for session in simulation.world.sessions if session.tunnel == good]
    assert began <= 30 // SLOTS * Progress.NONE.value


def test_what_waits_for_its_turn_is_stopped_removed_and_reconnected_at_once(tmp_path: Path) -> None:
    many = tunnels(SLOTS + 4)
    waiting = [each.name for each in many[SLOTS:]]
    simulation = Simulation(hangs, *many, folder=tmp_path)
    simulation.recorder.config = replace(simulation.config, tunnels=tuple(many[:-1]))
    phases: list[list[Phase]] = []
    runners = simulation.supervisor.runners

    def look() -> None:
        phases.append([runners[name].state.phase for name in waiting if name in runners])

    simulation.ask(0.1, StopTunnels((waiting[0],)))
    simulation.world.after(0.2, look)
    simulation.world.post(0.3, Reload())
    simulation.ask(0.4, Reconnect((waiting[1],)))
    simulation.world.after(0.5, look)
    simulation.world.post(0.6, Stop())
    simulation.run()

    assert simulation.world.now() == 0.6
    assert phases == [[Phase.STOPPED, *[Phase.QUEUED] * 3], [Phase.STOPPED, *[Phase.QUEUED] * 2]]
    assert simulation.replies == [(waiting[0],), (waiting[1],)]
    assert len(simulation.world.sessions) == SLOTS


def test_a_dial_that_ends_lets_the_next_one_begin_at_once_and_nothing_else_wakes_the_agent(tmp_path: Path) -> None:
    moved = replace(tunnel("moved", 998), endpoint=HostPort("other.test", 998))
    simulation = Simulation(connects, *tunnels(SLOTS + 1), moved, folder=tmp_path)
    simulation.run_until_idle()

    assert [session.began for session in simulation.world.sessions] == [0.0] * (SLOTS + 1) + [SIGN_IN]
    assert simulation.world.wakeups <= 2 * (SLOTS + 2) + 1  # two reports of each, and the last wait
