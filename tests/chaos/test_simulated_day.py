"""A day of random faults, in seconds: the real supervisor and machine, a jumphost with every kind of fault.

What is promised: the tunnel is never stuck, comes back when the jumphost does, and never dials more often than the
class of the last failure allows.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from tests.rigs.simulated import ScriptedSession, Simulation

from ioconnect.agent.supervisor.mailbox import Stop
from ioconnect.agent.tunnel.backoff import minimum_interval
from ioconnect.agent.tunnel.events import Closed, Granted, Lost, PortRefused, RetryRequested, SignedIn
from ioconnect.agent.tunnel.state import Phase
from ioconnect.disposition import Disposition
from ioconnect.errors import (
    AuthRefused,
    BannerTimeout,
    ConnectionLost,
    Fault,
    HostKeyChanged,
    KeepaliveTimeout,
    NameNotResolved,
    Penalized,
    PortBusy,
    TooManyConnections,
    Unreachable,
)
from ioconnect.status.snapshots import State

if TYPE_CHECKING:
    from pathlib import Path

DAY = 24 * 3600.0
HEALTHY = "healthy"

# How a dial ends with each kind of fault, and after how many seconds.
FAULTS: dict[str, tuple[type[Fault], float]] = {
    "refused": (Unreachable, 0.02),
    "black hole": (Unreachable, 10.0),
    "no name": (NameNotResolved, 1.0),
    "silent": (BannerTimeout, 30.0),
    "reset": (ConnectionLost, 0.1),
    "crowded": (TooManyConnections, 0.1),
    "penalized": (Penalized, 0.1),
    "key refused": (AuthRefused, 0.3),
    "host key changed": (HostKeyChanged, 0.2),
}
# The longest that a tunnel may take to come back when the jumphost is healthy again, by the last kind of failure.
BACK_WITHIN = {
    Disposition.RETRY: 15 + 31,
    Disposition.MAX_STARTUPS: 21,
    Disposition.PENALIZED: 601,
    Disposition.HOLD: 901,
    Disposition.RETRY_FORWARD: 6,
}


@dataclass
class FaultyJumphost:
    """The fault that the jumphost has now, and what the agent did."""

    chance: random.Random
    now: str = HEALTHY
    port_busy: bool = False
    dials: list[tuple[float, Disposition | None]] = field(
        default_factory=list
    )  # when, and after what kind of failure
    requests: list[float] = field(default_factory=list)
    connected_at: list[float] = field(default_factory=list)
    last_failure: Disposition | None = None
    live: ScriptedSession | None = None

    def on_dial(self, session: ScriptedSession) -> None:
        self.dials.append((session.world.now(), self.last_failure))
        self.live = None
        session.on_close = lambda: session.emit(Closed(), after=0.05)
        if self.now in FAULTS:
            kind, seconds = FAULTS[self.now]
            self._lose(session, kind(f"{self.now}", hint="wait"), after=seconds)
            return
        self.live = session
        session.emit(SignedIn(), after=0.2)
        session.request_forward = lambda: self.requested(session)  # type: ignore[method-assign]
        session.world.after(0.25, lambda: self.answer(session))

    def requested(self, session: ScriptedSession) -> None:
        self.requests.append(session.world.now())
        session.world.after(0.05, lambda: self.answer(session))

    def answer(self, session: ScriptedSession) -> None:
        if session is not self.live:
            return
        if self.port_busy:
            session.report(PortRefused(PortBusy("held elsewhere", hint="wait")))
        else:
            self.last_failure = None
            self.connected_at.append(session.world.now())
            session.report(Granted(58115))

    def cut(self) -> None:
        """End the running session, if there is one, as this fault does it."""
        if self.live is not None:
            session, self.live = self.live, None
            unclean = self.chance.random() < 0.5
            fault = KeepaliveTimeout("silent", hint="") if unclean else ConnectionLost("disconnected", hint="")
            self._lose(session, fault, after=self.chance.uniform(0, 20), unclean=unclean)

    def _lose(self, session: ScriptedSession, fault: Fault, *, after: float, unclean: bool = False) -> None:
        def lose() -> None:
            self.last_failure = fault.disposition
            session.report(Lost(fault, unclean=unclean))

        session.world.after(after, lose)


def schedule_faults(simulation: Simulation, jumphost: FaultyJumphost) -> list[tuple[float, float]]:
    """Fill a day with faults of seconds to an hour, some minutes apart; return the healthy periods."""
    chance, moment, periods = jumphost.chance, 60.0, []

    def turn(kind: str, *, busy: bool) -> None:
        jumphost.now, jumphost.port_busy = kind, busy
        if kind != HEALTHY or busy:
            jumphost.cut()

    while moment < DAY:
        kind = chance.choice([*FAULTS, HEALTHY])
        length = chance.choice([1, 10, 60, 600, 3600]) * chance.random()
        simulation.world.after(moment, lambda kind=kind: turn(kind, busy=kind == HEALTHY))
        moment += length
        simulation.world.after(moment, lambda: turn(HEALTHY, busy=False))
        pause = 1000 * chance.random() + 950
        periods.append((moment, moment + pause))
        moment += pause
    simulation.world.post(moment, Stop())
    return periods


@pytest.mark.parametrize("seed", range(5))
def test_a_day_of_random_faults(tmp_path: Path, seed: int) -> None:
    jumphost = FaultyJumphost(random.Random(seed))
    simulation = Simulation(jumphost.on_dial, folder=tmp_path, seed=seed)
    periods = schedule_faults(simulation, jumphost)
    seen: list[tuple[float, State]] = []
    for begin, end in periods:
        simulation.world.after(end - 1, lambda: seen.append(("at the end of a healthy period", state_of(simulation))))
        assert begin < end
    if seed % 2:
        flap(simulation, jumphost.chance)

    simulation.run()

    assert [state for _, state in seen] == [State.CONNECTED] * len(periods)
    assert simulation.supervisor.runners["orders"].state.phase is Phase.STOPPED
    assert len(jumphost.dials) > 100
    assert_patient(jumphost)


def state_of(simulation: Simulation) -> State:
    return simulation.supervisor.runners["orders"].state.shown


def flap(simulation: Simulation, chance: random.Random) -> None:
    """Let the network change a thousand times on the way, alone and in bursts: no event may make a storm."""
    for _ in range(200):
        moment = chance.random() * DAY
        for burst in range(5):
            simulation.world.post(moment + burst * 0.2, RetryRequested("the address changed", by_user=False))


def assert_patient(jumphost: FaultyJumphost) -> None:
    """Hold every dial against what the class of the failure before it allows."""
    previous = None
    for moment, after in jumphost.dials:
        if previous is not None and after in {Disposition.HOLD, Disposition.PENALIZED, Disposition.MAX_STARTUPS}:
            assert moment - previous >= minimum_interval(after, 1) - 0.001, (
                f"{after} dialled again after {moment - previous} s"
            )
        previous = moment
    moments = [moment for moment, _ in jumphost.dials]
    assert max(within(moments, 20.0)) <= 40
    assert max(within(moments, 3600.0)) <= 1200
    assert max(within(jumphost.requests, 60.0), default=0) <= 61


def within(moments: list[float], seconds: float) -> list[int]:
    """Return, for each moment, how many fall into so many seconds from it."""
    counts, end = [], 0
    for index, moment in enumerate(moments):
        while end < len(moments) and moments[end] < moment + seconds:
            end += 1
        counts.append(end - index)
    return counts


@pytest.mark.parametrize("kind", FAULTS)
def test_every_kind_of_outage_is_over_soon_after_it_is_over(tmp_path: Path, kind: str) -> None:
    """An hour of one fault, then none."""
    jumphost = FaultyJumphost(random.Random(kind))
    simulation = Simulation(jumphost.on_dial, folder=tmp_path)

    def begin() -> None:
        jumphost.now = kind
        jumphost.cut()

    def end() -> None:
        jumphost.now = HEALTHY

    simulation.world.after(100, begin)
    simulation.world.after(3700, end)
    simulation.run_until_idle()

    back = next(moment for moment in jumphost.connected_at if moment >= 3700) - 3700
    assert back <= BACK_WITHIN[FAULTS[kind][0].disposition]
    assert_patient(jumphost)
