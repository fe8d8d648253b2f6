"""Changes of the network in the real supervisor, in a simulated world: only those that concern a tunnel wake it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.rigs.simulated import ScriptedSession, Simulation, tunnel

from ioconnect.agent.network.routes import INTERNET, NetworkChanged, Route
from ioconnect.agent.supervisor.mailbox import Stop
from ioconnect.agent.tunnel.events import Granted, Lost, SignedIn
from ioconnect.config.addresses import HostPort
from ioconnect.errors import AuthRefused, Fault, NameNotResolved, Unreachable

if TYPE_CHECKING:
    from pathlib import Path

JUMPHOST = "198.51.100.1"  # of a ScriptedSession
ROUTE = Route("192.0.2.1", "192.0.2.254", interface=2)
ELSEWHERE = replace(ROUTE, gateway="192.0.2.253")
CHATTER = NetworkChanged(frozenset({7, 8}))
HOUR, DAY = 3600, 86400


def connects(session: ScriptedSession) -> None:
    session.emit(SignedIn(), Granted(1), after=0.1)


def fails(fault: Fault, session: ScriptedSession) -> None:
    session.peer_address = session.host_key = None
    session.emit(Lost(fault, unclean=False), after=0.1)


def refuses(session: ScriptedSession) -> None:
    session.emit(Lost(AuthRefused("the key is not accepted", hint="register it"), unclean=False), after=0.1)


def change(simulation: Simulation, at: float, **routes: Route) -> None:
    """Let the routes be these from a moment on, and the change be reported."""
    simulation.world.after(at, lambda: simulation.routes.update(routes))
    simulation.world.post(at + 0.2, CHATTER)


def test_containers_and_routing_daemons_do_not_have_a_session_probed_nor_status_written(tmp_path: Path) -> None:
    simulation = Simulation(connects, folder=tmp_path)
    simulation.routes[JUMPHOST] = ROUTE
    for second in range(5, HOUR, 5):
        simulation.world.post(second, CHATTER)
        change(simulation, second, **{INTERNET[0]: replace(ROUTE, interface=second)})
    simulation.run_until_idle()

    assert simulation.world.sessions[0].calls == []
    assert max(simulation.recorder.published_at) < 5


@pytest.mark.parametrize("what", [ELSEWHERE, replace(ROUTE, source="192.0.2.9"), replace(ROUTE, is_up=False)])
def test_a_change_of_a_sessions_own_route_has_it_probed_and_no_other(tmp_path: Path, what: Route) -> None:
    def dial(session: ScriptedSession) -> None:
        session.peer_address = JUMPHOST if session.tunnel.name == "a" else "203.0.113.1"
        connects(session)

    simulation = Simulation(dial, tunnel("a", 1), tunnel("b", 2), folder=tmp_path)
    simulation.routes.update({JUMPHOST: ROUTE, "203.0.113.1": ROUTE})
    change(simulation, 5, **{JUMPHOST: what})
    simulation.run_until_idle()

    assert [session.calls for session in simulation.world.sessions] == [["probe"], []]


def test_a_cable_that_is_out_for_a_moment_has_the_session_probed(tmp_path: Path) -> None:
    simulation = Simulation(connects, folder=tmp_path)
    simulation.routes[JUMPHOST] = ROUTE
    simulation.world.post(5, NetworkChanged(frozenset({2}), hardware=True))
    simulation.run_until_idle()

    assert simulation.world.sessions[0].calls == ["probe"]


def test_a_day_of_chatter_and_of_a_flapping_route_offers_a_refused_key_rarely(tmp_path: Path) -> None:
    """1441 to 2880 times a day it was."""
    for own in (False, True):
        simulation = Simulation(refuses, folder=tmp_path)
        simulation.routes.update({JUMPHOST: ROUTE, INTERNET[0]: ROUTE})
        for second in range(0, DAY, 10):
            simulation.world.post(second, CHATTER)
            if own:
                change(simulation, second, **{INTERNET[0]: (ROUTE, ELSEWHERE)[second // 10 % 2]})
        simulation.world.post(DAY, Stop())
        simulation.run()

        assert 90 <= len(simulation.world.sessions) <= 110


@pytest.mark.parametrize(
    ("fault", "changes"),
    [
        (NameNotResolved("no address", hint="DNS"), {INTERNET[0]: ROUTE}),
        (NameNotResolved("no address", hint="DNS"), {INTERNET[1]: replace(ROUTE, source="2001:db8::2")}),
        (Unreachable("no route to host", hint="cable"), {"192.0.2.77": ROUTE}),
    ],
)
def test_a_tunnel_that_never_connected_dials_when_a_way_to_the_jumphost_appears(
    tmp_path: Path, fault: Fault, changes: dict[str, Route]
) -> None:
    simulation = Simulation(
        lambda session: fails(fault, session),
        replace(tunnel(), endpoint=HostPort("192.0.2.77", 1)),
        folder=tmp_path,
    )
    began = [session.began for session in simulation.world.sessions]
    change(simulation, HOUR, **changes)
    simulation.world.post(HOUR + 0.3, Stop())
    simulation.run()

    began = [session.began for session in simulation.world.sessions]
    assert any(HOUR < moment <= HOUR + 0.3 for moment in began)


def test_other_name_servers_have_a_tunnel_without_a_session_dial(tmp_path: Path) -> None:
    def dial(session: ScriptedSession) -> None:
        connects(session) if session.tunnel.name == "up" else fails(NameNotResolved("no", hint="DNS"), session)

    simulation = Simulation(dial, tunnel("up", 1), tunnel("down", 2), folder=tmp_path)
    simulation.world.post(HOUR, NetworkChanged(resolver=True))
    simulation.world.post(HOUR + 0.1, Stop())
    simulation.run()

    assert simulation.world.sessions[-1].began == HOUR
    assert "probe" not in simulation.world.sessions[0].calls
