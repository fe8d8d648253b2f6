"""Held tunnels take over what was mended in their configuration, and nothing else is taken over without a reload."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.rigs.simulated import ScriptedSession, Simulation, tunnel

from ioconnect.agent.supervisor.healing import CONFIGURATION
from ioconnect.agent.supervisor.mailbox import FilesChanged, Reload, Stop
from ioconnect.agent.supervisor.publish import held
from ioconnect.agent.tunnel.events import Granted, Lost, SignedIn
from ioconnect.config.configuration import InvalidFile
from ioconnect.errors import AuthRefused, ConfigInvalid, IdentityMissing, IdentityUnreadable
from ioconnect.status.snapshots import State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ioconnect.config.configuration import Config

MISSING = Lost(IdentityMissing("there is no private key at nowhere", hint="keygen"), unclean=False)
REFUSED = Lost(AuthRefused("the key is not accepted", hint="register it"), unclean=False)


def with_fault(fault: Lost) -> object:
    """Return a script in which the tunnel `bad` has this fault while its configuration names no other user."""

    def script(session: ScriptedSession) -> None:
        if session.tunnel.name == "bad" and session.tunnel.ssh_user == "sshtunnel":
            session.emit(fault, after=0.1)
        else:
            session.emit(SignedIn(), Granted(session.tunnel.listen_port), after=0.1)

    return script


def simulation(fault: Lost, folder: Path) -> Simulation:
    return Simulation(with_fault(fault), tunnel("good", 1), tunnel("bad", 2), folder=folder)  # type: ignore[arg-type]


def states(simulation: Simulation) -> dict[str, State]:
    return {name: runner.state.shown for name, runner in simulation.supervisor.runners.items()}


def mended(config: Config) -> Config:
    """Return the configuration in which everything has changed, and a tunnel is new."""
    changed = tuple(replace(each, ssh_user="other") for each in config.tunnels)
    return replace(config, tunnels=(*changed, tunnel("new", 3)))


def test_a_tunnel_held_by_a_local_fault_alone_takes_its_new_configuration(tmp_path: Path) -> None:
    sim = simulation(MISSING, tmp_path)

    def mend() -> None:
        sim.recorder.config = mended(sim.config)
        sim.world.put(FilesChanged((CONFIGURATION,)))

    sim.world.after(5, mend)
    sim.run_until_idle()

    assert states(sim) == {"good": State.CONNECTED, "bad": State.CONNECTED}
    assert [session.tunnel.ssh_user for session in sim.world.sessions] == ["sshtunnel", "sshtunnel", "other"]
    assert sim.world.now() < 6


def test_a_configuration_that_is_being_read_is_not_read_again_for_every_snapshot(tmp_path: Path) -> None:
    """Its disk hangs: one read waits for it, and the tunnel is tried on."""
    read: list[str] = []
    sim = Simulation(
        with_fault(MISSING),  # type: ignore[arg-type]
        *(tunnel("good", 1), tunnel("bad", 2)),
        folder=tmp_path,
        background=lambda key, _job: read.append(key),
    )
    sim.world.post(3600, Stop())
    sim.run()

    assert len(read) == 1
    assert len([session for session in sim.world.sessions if session.tunnel.name == "bad"]) > 2


def test_a_jumphosts_refusal_is_no_reason_to_read_the_configuration(tmp_path: Path) -> None:
    sim = simulation(REFUSED, tmp_path)
    sim.recorder.config = mended(sim.config)
    sim.world.post(5, Reload())
    sim.recorder.load_valid_config = pytest.fail  # type: ignore[method-assign, assignment]
    sim.run_until_idle()

    assert states(sim) == dict.fromkeys(("good", "bad", "new"), State.CONNECTED), "that was the reload"


def test_a_configuration_that_is_still_wrong_changes_nothing(tmp_path: Path) -> None:
    sim = simulation(MISSING, tmp_path)

    def refuse() -> Config:
        raise ConfigInvalid("not TOML")

    sim.recorder.load_config = refuse
    sim.world.post(5, FilesChanged((CONFIGURATION,)))
    sim.world.post(6, FilesChanged(("bad",)))

    def mend() -> None:
        sim.recorder.load_config = lambda: mended(sim.config)
        sim.world.put(FilesChanged((CONFIGURATION,)))

    sim.world.after(7, mend)
    sim.run_until_idle()
    assert states(sim) == {"good": State.CONNECTED, "bad": State.CONNECTED}


def test_what_was_mended_before_the_fault_begins_at_once(tmp_path: Path) -> None:
    """The configuration is read when the tunnel is held, in the turn that publishes that."""
    sim = simulation(MISSING, tmp_path)
    sim.recorder.config = mended(sim.config)
    sim.world.post(60, Stop())
    sim.run()

    bad = [session for session in sim.world.sessions if session.tunnel.name == "bad"]
    assert [session.tunnel.ssh_user for session in bad] == ["sshtunnel", "other"]
    assert bad[1].began < 1


def test_a_reload_does_not_give_up_a_tunnel_that_works_for_one_that_cannot(tmp_path: Path) -> None:
    sim = simulation(MISSING, tmp_path)
    sim.recorder.config = mended(sim.config)

    def check(config: Config) -> None:
        if [each.name for each in config.tunnels] == ["good"]:
            raise IdentityUnreadable("others can read it")

    sim.recorder.check = check  # type: ignore[method-assign]
    sim.recorder.load_valid_config = lambda: sim.config  # type: ignore[method-assign]
    sim.world.post(5, Reload())
    sim.world.post(10, Stop())
    sim.run()

    good = [session for session in sim.world.sessions if session.tunnel.name == "good"]
    assert [(session.began, session.calls[0]) for session in good] == [(0, "close")]
    assert sim.world.now() >= 10


def test_tunnels_of_a_file_with_a_fault_are_shown_as_held(tmp_path: Path) -> None:
    files = (
        InvalidFile(tmp_path / "a.toml", "a.toml: typo", "Mend it.", names=("pricing", "running")),
        InvalidFile(tmp_path / "broken.toml", "broken.toml: not TOML", "Mend that line."),
    )
    found = list(held(files, {"running"}, "2026-11-22T10:00:00Z"))
    assert [(each.name, each.state, each.reason and each.reason.code.value) for each in found] == [
        ("pricing", State.HELD, "config_invalid"),
        ("broken", State.HELD, "config_invalid"),
    ]


def test_whether_a_standby_is_well_changes_without_a_new_session(tmp_path: Path) -> None:
    sim = simulation(MISSING, tmp_path)
    sim.recorder.config = replace(sim.config, tunnels=tuple(replace(t, standby=True) for t in sim.config.tunnels))
    sim.recorder.load_valid_config = lambda: sim.config  # type: ignore[method-assign]
    sim.world.post(5, Reload())
    sim.world.after(6, lambda: seen.append(sim.supervisor.runners["good"].tunnel.standby))
    seen: list[bool] = []
    sim.world.post(7, Stop())
    sim.run()

    good = [session for session in sim.world.sessions if session.tunnel.name == "good"]
    assert (seen, [session.began for session in good]) == ([True], [0])


def test_what_was_mended_is_not_started_by_an_agent_that_stops(tmp_path: Path) -> None:
    """The configuration was being read when the stop came, and sessions take a while to close."""
    file = tmp_path / "config.d" / "new.toml"
    jobs: list[Callable[[], None]] = []

    def background(_key: str, job: Callable[[], None]) -> None:
        jobs.append(job) if sim.world.now() >= 5 else job()

    sim = Simulation(lambda session: session.emit(SignedIn(), Granted(1)), folder=tmp_path, background=background)
    sim.recorder.config = replace(sim.config, invalid=(InvalidFile(file, "new.toml: typo", "Mend it."),))
    sim.world.post(1, Reload())
    sim.world.post(5, FilesChanged((CONFIGURATION,)))
    sim.world.post(6, Stop())

    def finish_reading() -> None:
        sim.recorder.config = replace(sim.config, tunnels=(*sim.config.tunnels, replace(tunnel("new", 2), file=file)))
        for job in jobs:
            job()

    sim.world.after(6.1, finish_reading)
    sim.run()

    assert len(jobs) == 1
    assert [session.tunnel.name for session in sim.world.sessions] == ["orders"]
