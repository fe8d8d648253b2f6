"""The main loop with scripted sessions: commands carried out, earlier sessions ignored, no needless wake-ups."""

from __future__ import annotations

import errno
import itertools
import logging
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.rigs.simulated import ScriptedSession, Simulation, tunnel

from ioconnect.agent.supervisor.mailbox import (
    GetSnapshot,
    Reconnect,
    Reload,
    Report,
    StartTunnels,
    Stop,
    StopTunnels,
)
from ioconnect.agent.supervisor.reload import Changes
from ioconnect.agent.supervisor.selection import TunnelNotRun
from ioconnect.agent.supervisor.supervisor import AgentStopping
from ioconnect.agent.tunnel.events import (
    Closed,
    CountersChanged,
    Granted,
    Lost,
    PortRefused,
    RetryRequested,
    SignedIn,
    TargetChanged,
)
from ioconnect.agent.tunnel.machine import STOP_TIMEOUT
from ioconnect.agent.tunnel.state import Phase
from ioconnect.agent.tunnel.target_health import TargetHealth, answered, reason_for, refused
from ioconnect.config.addresses import HostPort
from ioconnect.errors import (
    AuthRefused,
    ConfigFault,
    ConfigInvalid,
    ExitCode,
    Fault,
    KeepaliveTimeout,
    PortBusy,
    Unreachable,
    UsageFault,
)
from ioconnect.status.snapshots import Availability, Snapshot, State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

UP = (SignedIn(), Granted(58115))
GONE = Lost(Unreachable("jumphost.test: no route", hint="wait"), unclean=False)
DEAD = Lost(KeepaliveTimeout("jumphost.test has not answered for 20 s", hint="wait"), unclean=True)


def connects(session: ScriptedSession) -> None:
    """Let every dial succeed, and leave politely."""
    session.emit(*UP, after=0.1)
    session.on_close = lambda: session.emit(Closed(), after=0.05)


def state(simulation: Simulation, name: str = "orders") -> State:
    return simulation.supervisor.runners[name].state.shown


def test_a_connected_agent_causes_no_wakeups(tmp_path: Path) -> None:
    """Neither a timer nor a poll: after the connection is up, nothing happens for ever."""
    simulation = Simulation(connects, folder=tmp_path)
    simulation.run_until_idle()

    assert state(simulation) is State.CONNECTED
    assert simulation.world.wakeups == 3  # signed in, granted, and the one that waits for ever
    assert simulation.world.now() == pytest.approx(0.1)


def test_a_loss_is_followed_by_a_new_session_within_a_second(tmp_path: Path) -> None:
    def script(session: ScriptedSession) -> None:
        connects(session)
        if len(session.world.sessions) == 1:
            session.emit(GONE, after=100)

    simulation = Simulation(script, folder=tmp_path)
    simulation.run_until_idle()

    assert [100 < session.began <= 101 for session in simulation.world.sessions] == [False, True]
    assert state(simulation) is State.CONNECTED


def test_events_of_an_earlier_session_are_ignored(tmp_path: Path) -> None:
    def script(session: ScriptedSession) -> None:
        connects(session)
        if len(session.world.sessions) == 1:
            session.emit(DEAD, after=10)
            session.emit(*UP, GONE, after=50)

    simulation = Simulation(script, folder=tmp_path)
    simulation.run_until_idle()

    assert len(simulation.world.sessions) == 2
    assert state(simulation) is State.CONNECTED


def test_stop_closes_every_session_and_waits_for_them(tmp_path: Path) -> None:
    simulation = Simulation(connects, tunnel("a", 1), tunnel("b", 2), folder=tmp_path)
    simulation.world.post(5, Stop(ExitCode.INTERRUPTED))

    assert simulation.run() is ExitCode.INTERRUPTED
    assert [session.calls for session in simulation.world.sessions] == [["close"], ["close"]]
    assert simulation.world.now() == pytest.approx(5.05)
    assert "stopping" in simulation.recorder.calls


def test_a_session_that_does_not_close_is_aborted_after_the_timeout(tmp_path: Path) -> None:
    simulation = Simulation(lambda session: session.emit(*UP), folder=tmp_path)
    simulation.world.post(10, Stop())

    assert simulation.run() is ExitCode.OK
    assert simulation.world.sessions[0].calls == ["close", "abort"]
    assert simulation.world.now() == 10 + STOP_TIMEOUT


def test_a_second_stop_aborts_at_once(tmp_path: Path) -> None:
    simulation = Simulation(lambda session: session.emit(*UP), folder=tmp_path)
    simulation.world.post(10, Stop(ExitCode.OK))
    simulation.world.post(11, Stop(ExitCode.INTERRUPTED))

    assert simulation.run() is ExitCode.OK
    assert simulation.world.now() == 11


def test_stop_while_waiting_to_dial_is_immediate(tmp_path: Path) -> None:
    refused = Lost(AuthRefused("the key is not accepted", hint="register it"), unclean=False)
    simulation = Simulation(lambda session: session.emit(refused), folder=tmp_path)
    simulation.world.post(10, Stop())
    simulation.run()

    assert simulation.world.now() == 10


def test_reconnect_tries_the_named_tunnel_now_and_leaves_the_others(tmp_path: Path) -> None:
    refused = Lost(AuthRefused("the key is not accepted", hint="register it"), unclean=False)
    simulation = Simulation(lambda session: session.emit(refused), tunnel("a", 1), tunnel("b", 2), folder=tmp_path)
    simulation.ask(5, Reconnect(("b",)))
    simulation.world.post(6, Stop())
    simulation.run()

    assert [(s.tunnel.name, s.began) for s in simulation.world.sessions] == [("a", 0), ("b", 0), ("b", 5)]


def test_requests_that_come_at_the_same_moment_each_mean_what_they_name(tmp_path: Path) -> None:
    """None is merged with its neighbour: not in the mailbox, nor by the thread that reads the configuration."""
    jobs: dict[str, Callable[[], None]] = {}
    names = ("a", "b", "c", "d")
    tunnels = [tunnel(name, port) for port, name in enumerate(names, 1)]
    simulation = Simulation(connects, *tunnels, folder=tmp_path, background=jobs.__setitem__)
    simulation.ask(5, StopTunnels(("d",)))
    commands = (Reconnect(("a",)), Reconnect(("b",)), StopTunnels(("c",)), StartTunnels(("d",)), Reload())
    for command in commands:
        simulation.ask(10, command)
    simulation.world.after(10.5, lambda: [job() for job in jobs.values()] and None)
    simulation.run_until_idle()

    assert simulation.replies[1:3] == [("a",), ("b",)]
    assert ("c",) in simulation.replies
    assert [names_of(each)[0] for each in simulation.replies if isinstance(each, Changes)] == [["d"], []]
    calls = {session.tunnel.name: session.calls for session in simulation.world.sessions}
    assert calls == {"a": ["probe"], "b": ["probe"], "c": ["close"], "d": []}


def test_a_network_change_probes_what_is_connected(tmp_path: Path) -> None:
    simulation = Simulation(connects, folder=tmp_path)
    simulation.world.post(5, RetryRequested("the address changed", by_user=False))
    simulation.run_until_idle()

    assert simulation.world.sessions[0].calls == ["probe"]


def test_standby_repeats_the_request_on_the_same_session(tmp_path: Path) -> None:
    busy = PortRefused(PortBusy("held", hint="wait"))

    def script(session: ScriptedSession) -> None:
        session.emit(SignedIn(), busy)
        session.emit(Granted(58115), after=30)
        session.request_forward = lambda: requested(session)  # type: ignore[method-assign]

    def requested(session: ScriptedSession) -> None:
        session.calls.append("request_forward")
        if session.world.now() < 25:
            session.emit(busy, after=0.1)

    simulation = Simulation(script, folder=tmp_path)
    simulation.run_until_idle()

    session = simulation.world.sessions[0]
    assert len(simulation.world.sessions) == 1
    assert 5 <= session.calls.count("request_forward") <= 25
    assert state(simulation) is State.CONNECTED


# --- the source port


def sources_of(simulation: Simulation) -> list[tuple[str, int] | None]:
    sources = [session.source for session in simulation.world.sessions]
    return [(source.address, source.port) if source is not None else None for source in sources]


def test_an_unclean_loss_dials_from_the_port_that_had_the_forward(tmp_path: Path) -> None:
    def script(session: ScriptedSession) -> None:
        connects(session)
        if len(session.world.sessions) < 3:
            session.emit(DEAD if len(session.world.sessions) == 1 else GONE, after=60)

    simulation = Simulation(script, folder=tmp_path)
    simulation.run_until_idle()
    first = simulation.world.sessions[0].local_address

    assert sources_of(simulation) == [None, first, None]  # the second loss was a clean one


def test_the_source_port_is_stored_over_a_power_cut_and_removed_by_a_clean_stop(tmp_path: Path) -> None:
    before = Simulation(connects, folder=tmp_path)
    before.run_until_idle()  # and is never calls of again

    after = Simulation(connects, folder=tmp_path)
    after.world.post(10, Stop())
    after.run()

    assert sources_of(after) == [before.world.sessions[0].local_address]

    third = Simulation(connects, folder=tmp_path)
    third.run_until_idle()
    assert sources_of(third) == [None]


def test_a_damaged_file_of_source_ports_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "sources.json").write_text('{"jumphost.test:58115 50683": ["x", 99999]}')
    simulation = Simulation(connects, folder=tmp_path)
    simulation.run_until_idle()

    assert sources_of(simulation) == [None]


# --- reload


def reloaded(simulation: Simulation, *tunnels: object, at: float = 10.0, **settings: object) -> Simulation:
    agent = replace(simulation.config.agent, **settings)  # type: ignore[arg-type]
    config = replace(simulation.config, agent=agent, tunnels=tunnels)  # type: ignore[arg-type]
    simulation.recorder.config = config
    simulation.world.post(at, Reload())
    return simulation


def test_reload_adds_removes_and_changes_without_touching_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ioconnect")
    kept, gone, old = tunnel("kept", 1), tunnel("gone", 2), tunnel("changed", 3)
    simulation = Simulation(connects, kept, gone, old, folder=tmp_path)
    reloaded(simulation, kept, replace(old, max_connections=1), tunnel("added", 4)).run_until_idle()

    story = [(s.tunnel.name, s.began, s.calls) for s in simulation.world.sessions]
    assert story[:3] == [("kept", 0, []), ("gone", 0, ["close"]), ("changed", 0, ["close"])]
    assert story[3:] == [("added", 10, []), ("changed", pytest.approx(10.05), [])]
    assert set(simulation.supervisor.runners) == {"kept", "changed", "added"}
    assert simulation.supervisor.runners["changed"].state.attempts == 2
    assert "reload: added added; changed changed; removed gone" in caplog.messages
    assert simulation.recorder.calls.count("reloaded") == 1


def test_a_changed_agent_setting_restarts_only_whom_it_concerns(tmp_path: Path) -> None:
    own = replace(tunnel("own", 1), identity=tmp_path / "own_key")
    simulation = Simulation(connects, own, tunnel("shared", 2), folder=tmp_path)
    reloaded(simulation, own, tunnel("shared", 2), identity=tmp_path / "new_key").run_until_idle()

    assert [s.tunnel.name for s in simulation.world.sessions] == ["own", "shared", "shared"]


def test_a_faulty_configuration_changes_nothing_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> object:
        raise ConfigInvalid("config.toml is faulty", faults=(ConfigFault("tunnels.orders.ssh_prot", "unknown key"),))

    simulation = Simulation(connects, folder=tmp_path)
    simulation.recorder.load_config = broken  # type: ignore[assignment]
    simulation.world.post(10, Reload())
    simulation.run_until_idle()

    assert simulation.world.sessions[0].calls == []
    assert simulation.recorder.calls.count("reloaded") == 1
    assert "reload refused, going on as before: tunnels.orders.ssh_prot: unknown key" in caplog.messages


def test_a_second_reload_while_a_tunnel_stops_lets_it_close_cleanly(tmp_path: Path) -> None:
    simulation = Simulation(connects, folder=tmp_path)
    reloaded(simulation, replace(tunnel(), max_connections=1))
    simulation.world.post(10.01, Reload())
    simulation.world.after(10.005, lambda: reloaded(simulation, replace(tunnel(), max_connections=2), at=0.005))
    simulation.run_until_idle()

    assert [s.calls for s in simulation.world.sessions] == [["close"], []]
    assert simulation.world.sessions[-1].tunnel.max_connections == 2


def test_reload_tries_a_held_tunnel_at_once(tmp_path: Path) -> None:
    """Whoever reloads has just changed something: perhaps the key."""
    refused = Lost(AuthRefused("the key is not accepted", hint="register it"), unclean=False)
    simulation = Simulation(lambda session: session.emit(refused), folder=tmp_path)
    reloaded(simulation, tunnel(), at=5)
    simulation.world.post(6, Stop())
    simulation.run()

    assert [s.began for s in simulation.world.sessions] == [0, 5]


# --- tunnels that are started and stopped by name


def names_of(changes: object) -> tuple[list[str], ...]:
    assert isinstance(changes, Changes)
    return (
        [new.tunnel.name for new in changes.added],
        [new.tunnel.name for new in changes.changed],
        list(changes.removed),
        list(changes.unchanged),
    )


def test_an_agent_of_some_tunnels_is_given_another_and_keeps_it_over_reloads(tmp_path: Path) -> None:
    simulation = Simulation(connects, tunnel("a", 1), tunnel("b", 2), folder=tmp_path, names=("a",))
    simulation.ask(5, Reload())
    simulation.ask(10, StartTunnels(("b",)))
    simulation.ask(15, Reload())
    simulation.run_until_idle()

    assert [names_of(reply) for reply in simulation.replies] == [
        ([], [], [], ["a"]),
        (["b"], [], [], []),
        ([], [], [], ["a", "b"]),
    ]
    assert [reply.not_started for reply in simulation.replies] == [("b",), (), ()]  # type: ignore[attr-defined]
    assert [(s.tunnel.name, s.began) for s in simulation.world.sessions] == [("a", 0), ("b", 10)]


def test_starting_without_names_starts_all_that_is_configured_by_now(tmp_path: Path) -> None:
    simulation = Simulation(connects, tunnel("a", 1), folder=tmp_path, names=("a",))
    simulation.recorder.config = replace(simulation.config, tunnels=(tunnel("a", 1), tunnel("b", 2)))
    simulation.ask(5, StartTunnels())
    simulation.ask(6, StartTunnels())
    simulation.run_until_idle()

    assert [names_of(reply)[::3] for reply in simulation.replies] == [(["b"], ["a"]), ([], ["a", "b"])]
    assert simulation.recorder.checked == [["b"]]  # only what is to start


def test_a_running_tunnel_is_left_with_its_earlier_configuration_and_that_is_said(tmp_path: Path) -> None:
    simulation = Simulation(connects, folder=tmp_path)
    changed = replace(tunnel(), max_connections=1)
    simulation.recorder.config = replace(simulation.config, tunnels=(changed,))
    simulation.ask(5, StartTunnels(("orders",)))
    simulation.run_until_idle()

    assert simulation.replies[0].outdated == ("orders",)  # type: ignore[attr-defined]
    assert simulation.world.sessions[0].calls == []


def test_a_tunnel_stopped_by_name_stays_stopped_until_it_is_started_by_name(tmp_path: Path) -> None:
    simulation = Simulation(connects, tunnel("a", 1), tunnel("b", 2), folder=tmp_path)
    simulation.ask(5, StopTunnels(("b",)))
    simulation.ask(6, GetSnapshot())
    reloaded(simulation, tunnel("a", 1), replace(tunnel("b", 2), max_connections=3), at=7)
    simulation.ask(8, Reconnect(()))
    simulation.ask(9, StartTunnels(("b",)))
    simulation.run_until_idle()

    stopped, shown, reconnected, started = simulation.replies
    assert stopped == ("b",)
    assert isinstance(shown, Snapshot)
    assert {each.name: each.state for each in shown.tunnels} == {"a": State.CONNECTED, "b": State.STOPPED}
    assert reconnected == ("a",)
    assert names_of(started) == (["b"], [], [], [])
    story = [(s.tunnel.name, s.began, s.calls) for s in simulation.world.sessions]
    assert story == [("a", 0, ["probe"]), ("b", 0, ["close"]), ("b", 9, [])]
    assert simulation.world.sessions[-1].tunnel.max_connections == 3


def test_a_start_of_all_leaves_what_was_stopped_by_name_and_says_so(tmp_path: Path) -> None:
    """As cron repeats it: only who names the tunnel may undo what somebody asked for."""
    simulation = Simulation(connects, tunnel("a", 1), tunnel("b", 2), folder=tmp_path, names=("b",))
    simulation.ask(5, StopTunnels(("b",)))
    simulation.ask(6, StartTunnels())
    simulation.ask(7, Reload())
    simulation.ask(8, StartTunnels(("b",)))
    simulation.run_until_idle()

    _, all_of_them, reloaded_ones, named = simulation.replies
    assert names_of(all_of_them) == (["a"], [], [], [])
    assert all_of_them.not_started == reloaded_ones.not_started == ("b",)  # type: ignore[attr-defined]
    assert names_of(named) == (["b"], [], [], [])
    assert [(s.tunnel.name, s.began) for s in simulation.world.sessions] == [("b", 0), ("a", 6), ("b", 8)]


def test_a_second_stop_by_name_stops_nothing_more_and_waits_for_the_first(tmp_path: Path) -> None:
    simulation = Simulation(lambda session: session.emit(*UP), folder=tmp_path)
    simulation.ask(5, StopTunnels(("orders",)))
    simulation.ask(5.1, StopTunnels(("orders",)))
    seen: list[int] = []
    simulation.world.after(5 + STOP_TIMEOUT - 0.1, lambda: seen.append(len(simulation.replies)))
    simulation.ask(20, StopTunnels(("orders",)))
    simulation.run_until_idle()

    assert seen == [0]
    assert simulation.replies == [("orders",), (), ()]
    assert simulation.world.sessions[0].calls == ["close", "abort"]


def test_a_refused_start_is_logged_as_what_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> object:
        raise ConfigInvalid("config.toml is faulty")

    simulation = Simulation(connects, folder=tmp_path)
    simulation.recorder.load_config = broken  # type: ignore[assignment]
    simulation.ask(6, StartTunnels())
    simulation.run_until_idle()

    refused = [record for record in caplog.records if "refused" in record.message]
    assert [(each.levelno, each.message) for each in refused] == [
        (logging.WARNING, "up refused, nothing was started: config.toml is faulty")
    ]


def test_who_stops_a_tunnel_is_answered_once_its_session_has_closed(tmp_path: Path) -> None:
    simulation = Simulation(lambda session: session.emit(*UP), folder=tmp_path)
    simulation.ask(5, StopTunnels(("orders",)))
    seen: list[int] = []
    simulation.world.after(5 + STOP_TIMEOUT - 0.1, lambda: seen.append(len(simulation.replies)))
    simulation.run_until_idle()

    assert seen == [0]
    assert simulation.replies == [("orders",)]


def test_a_stop_by_name_wins_over_the_restart_that_a_reload_has_begun(tmp_path: Path) -> None:
    simulation = Simulation(connects, folder=tmp_path)
    reloaded(simulation, replace(tunnel(), max_connections=1), at=10)
    simulation.ask(10.01, StopTunnels(("orders",)))
    simulation.run_until_idle()

    assert [s.calls for s in simulation.world.sessions] == [["close"]]
    assert state(simulation) is State.STOPPED


def test_a_start_while_the_tunnel_still_stops_begins_when_it_has(tmp_path: Path) -> None:
    simulation = Simulation(connects, folder=tmp_path)
    simulation.ask(10, StopTunnels(("orders",)))
    simulation.ask(10.01, StartTunnels(("orders",)))
    simulation.run_until_idle()

    assert [s.began for s in simulation.world.sessions] == [0, pytest.approx(10.05)]
    assert state(simulation) is State.CONNECTED


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (StopTunnels(("orders", "nobody")), TunnelNotRun),
        (Reconnect(("nobody",)), TunnelNotRun),
        (StartTunnels(("orders", "nobody")), UsageFault),
    ],
)
def test_an_unknown_name_is_a_fault_and_nothing_is_done(
    tmp_path: Path, command: StopTunnels | Reconnect | StartTunnels, kind: type[Fault]
) -> None:
    simulation = Simulation(connects, folder=tmp_path)
    simulation.ask(5, command)
    simulation.run_until_idle()

    assert [type(reply) for reply in simulation.replies] == [kind]
    assert simulation.world.sessions[0].calls == []


def test_whoever_asks_for_a_change_is_told_the_fault_of_the_configuration(tmp_path: Path) -> None:
    fault = ConfigInvalid("config.toml is faulty")

    def broken() -> object:
        raise fault

    simulation = Simulation(connects, folder=tmp_path)
    simulation.recorder.load_config = broken  # type: ignore[assignment]
    simulation.ask(5, Reload())
    simulation.ask(6, StartTunnels())
    simulation.run_until_idle()

    assert simulation.replies == [fault, fault]


def test_an_agent_that_stops_starts_nothing_any_more_and_says_so(tmp_path: Path) -> None:
    simulation = Simulation(lambda session: session.emit(*UP), folder=tmp_path)
    simulation.ask(5, Stop())
    simulation.ask(6, StartTunnels())
    simulation.ask(6, Reload())
    simulation.run()

    assert simulation.replies[0] == ("orders",)
    assert [type(reply) for reply in simulation.replies[1:]] == [AgentStopping, AgentStopping]


def test_asking_for_the_status_writes_nothing_and_publishes_nothing(tmp_path: Path) -> None:
    simulation = Simulation(connects, folder=tmp_path)
    for second in range(10, 20):
        simulation.ask(second, GetSnapshot())
    simulation.run_until_idle()

    assert len(simulation.replies) == 10
    assert [moment for moment in simulation.recorder.published_at if moment >= 1] == []


def test_a_configuration_on_a_disk_that_hangs_keeps_the_supervisor_from_nothing(tmp_path: Path) -> None:
    """The read never ends: status is answered, a tunnel is stopped, and a TERM ends the agent."""
    read: list[str] = []
    simulation = Simulation(
        connects, tunnel("a", 1), tunnel("b", 2), folder=tmp_path, background=lambda key, _: read.append(key)
    )
    simulation.world.post(4, Reload())
    simulation.ask(5, StartTunnels())
    simulation.ask(5, StopTunnels(("b",)))
    simulation.ask(6, GetSnapshot())
    simulation.world.post(7, Stop())

    assert simulation.run() is ExitCode.OK
    assert len(set(read)) == 2, "none replaces another: each is answered once the disk is back"
    assert simulation.replies[0] == ("b",)
    assert isinstance(simulation.replies[1], Snapshot)
    assert simulation.world.now() == pytest.approx(7.05)


def test_what_was_read_for_an_agent_that_stops_by_now_is_not_taken_over(tmp_path: Path) -> None:
    jobs: list[Callable[[], None]] = []
    simulation = Simulation(
        lambda session: session.emit(*UP), folder=tmp_path, background=lambda _, job: jobs.append(job)
    )
    simulation.ask(5, Reload())
    simulation.world.post(6, Stop())
    simulation.world.after(7, lambda: [job() for job in jobs])
    simulation.run()

    assert [type(reply) for reply in simulation.replies] == [AgentStopping]
    assert simulation.recorder.calls.count("reloaded") == 1


def test_a_down_counts_though_the_up_before_it_reads_the_configuration_still(tmp_path: Path) -> None:
    """The disk hangs while `up b` comes; `down b` comes later, so it is the last word."""
    jobs: list[Callable[[], None]] = []
    simulation = Simulation(
        connects, tunnel("a", 1), tunnel("b", 2), folder=tmp_path, background=lambda _, job: jobs.append(job)
    )
    simulation.ask(3, StopTunnels(("b",)))
    simulation.ask(4, StartTunnels(("b",)))
    simulation.ask(5, StopTunnels(("b",)))
    simulation.world.after(6, lambda: [job() for job in jobs])
    simulation.ask(7, GetSnapshot())
    simulation.world.post(8, Stop())
    simulation.run()

    started, snapshot = simulation.replies[2:]
    assert isinstance(started, Changes)
    assert (started.added, started.not_started) == ((), ("b",))
    assert isinstance(snapshot, Snapshot)
    assert [each.state for each in snapshot.tunnels] == [State.CONNECTED, State.STOPPED]


# --- publishing and the watchdog


def test_counters_are_published_at_most_once_a_second_and_at_the_latest_a_second_later(tmp_path: Path) -> None:
    simulation = Simulation(connects, folder=tmp_path)
    for tenth in range(10, 60):
        simulation.world.after(tenth / 10, lambda: simulation.world.sessions[0].report(CountersChanged()))
    simulation.run_until_idle()

    moments = [moment for moment in simulation.recorder.published_at if moment >= 1]
    assert len(moments) <= 7
    assert all(0.999 <= later - earlier <= 1.2 for earlier, later in itertools.pairwise(moments))
    assert 5.9 <= moments[-1] <= 7


def test_the_watchdog_is_notified_while_every_loop_runs_and_only_then(tmp_path: Path) -> None:
    simulation = Simulation(connects, folder=tmp_path)
    simulation.recorder.watchdog_interval = 10.0
    simulation.world.post(100, Stop())

    def freeze() -> None:
        simulation.world.sessions[0].hung_since = simulation.world.now()

    simulation.world.after(45, freeze)
    simulation.run()

    # 0, 10 … 70: at 80 the loop has hung for 35 s
    assert simulation.recorder.calls.count("watchdog") == 8


# --- what must never happen


def test_a_factory_that_fails_is_a_loss_like_another(tmp_path: Path) -> None:
    def script(session: ScriptedSession) -> None:
        if len(session.world.sessions) < 3:
            raise RuntimeError("can't start new thread")
        connects(session)

    simulation = Simulation(script, folder=tmp_path)
    simulation.run_until_idle()

    assert state(simulation) is State.CONNECTED


def test_an_impossible_report_costs_the_session_never_the_tunnel(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def script(session: ScriptedSession) -> None:
        session.emit(*((Closed(),) if len(session.world.sessions) == 1 else UP))

    simulation = Simulation(script, folder=tmp_path)
    simulation.run_until_idle()

    assert state(simulation) is State.CONNECTED
    assert any("a bug: Closed while dialing" in message for message in caplog.messages)


def test_a_report_about_a_tunnel_that_was_removed_is_ignored(tmp_path: Path) -> None:
    simulation = Simulation(connects, folder=tmp_path)
    simulation.world.post(1, Report("nobody", 1, GONE))
    simulation.run_until_idle()

    assert simulation.supervisor.runners["orders"].state.phase is Phase.CONNECTED


# --- the log


def test_an_outage_is_a_line_at_its_beginning_at_each_new_reason_and_at_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ioconnect")
    refused = Lost(AuthRefused("the key is not accepted", hint="register it"), unclean=False)

    def script(session: ScriptedSession) -> None:
        number, now = len(session.world.sessions), session.world.now()
        if number == 1:
            session.emit(*UP)
            session.emit(DEAD, after=3600)
        elif now < 3900:
            session.emit(GONE, after=0.2)
        elif now < 4000:
            session.emit(refused, after=0.2)
        else:
            session.emit(*UP, after=0.2)

    simulation = Simulation(script, folder=tmp_path)
    simulation.run_until_idle()

    lines = [message.split(": ", 1)[1] for message in caplog.messages]
    assert len(simulation.world.sessions) > 30
    assert len(lines) == 6
    assert lines[0] == "connecting"
    assert lines[1] == "connected after 0.0 s, dial number 1"
    assert lines[2].startswith(
        "backoff, lost after 1 h 0 min: jumphost.test has not answered for 20 s [keepalive_timeout]"
    )
    assert "[unreachable]" in lines[3]
    assert lines[4].startswith("held, not connected for 5 min ")
    assert "connected again after" in lines[5]


def test_a_target_that_goes_down_is_published_at_once_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And once more when it answers again; a change that came with an earlier session's last words counts too."""
    caplog.set_level(logging.INFO, "ioconnect")
    reason = reason_for(HostPort("localhost", 3306), "127.0.0.1: Connection refused", {errno.ECONNREFUSED})

    def script(session: ScriptedSession) -> None:
        connects(session)
        world = session.world

        def changed(health: TargetHealth) -> None:
            session.counters.target = health
            session.report(TargetChanged())

        def fails() -> None:
            changed(refused(session.counters.target, reason, world.now(), world.wall()))

        if len(world.sessions) == 1:
            world.after(10, fails)
            world.after(11, fails)
            world.after(14, lambda: session.report(GONE))
            world.after(14, fails)
        else:
            world.after(6, lambda: changed(answered(session.counters.target, world.now(), world.wall())))

    simulation = Simulation(script, folder=tmp_path)
    simulation.run_until_idle()

    lines = [message for message in caplog.messages if "database" in message]
    assert len(lines) == 2
    assert lines[0].startswith(
        "orders: database unreachable: cannot connect to localhost:3306: 127.0.0.1: Connection refused"
    )
    assert re.fullmatch(r"orders: database answers again after 1\d s, 3 connections failed", lines[1])
    assert 10.0 in simulation.recorder.published_at


def test_another_target_is_another_story(tmp_path: Path) -> None:
    """A reload that changes the target forgets what was found out about the old one; any other change does not."""

    def script(session: ScriptedSession) -> None:
        connects(session)
        if session.tunnel.target == tunnel().target:
            session.counters.target = TargetHealth(1.0, 1.0, Availability.UP)

    for change, expected in (
        ({"target": HostPort("elsewhere", 1)}, Availability.UNKNOWN),
        ({"max_connections": 7}, Availability.UP),
    ):
        simulation = Simulation(script, folder=tmp_path)
        reloaded(simulation, replace(tunnel(), **change)).run_until_idle()

        assert simulation.supervisor.runners["orders"].target.state is expected
