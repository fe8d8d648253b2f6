"""Ten thousand agents lose one jumphost at the same moment: the real machine and backoff, next to autossh's policy.

The jumphost is sshd with its default MaxStartups 10:30:100: of the connections that have not signed in it drops at
random from the tenth on (30 %, rising) and all from the hundredth on. A sign-in takes it 4 ms of its cores, so it can
take 250 a second: a small machine. The agents' paths differ: each notices the restart, and each failure, after its
own fraction of a second.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ioconnect.agent.tunnel.events import Admitted, DeadlinePassed, Granted, Lost, SignedIn, Started
from ioconnect.agent.tunnel.machine import step
from ioconnect.agent.tunnel.state import TunnelState
from ioconnect.errors import ConnectionLost, Fault, TooManyConnections, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable

AGENTS = 10_000
DOWN = 20.0  # seconds
SIGN_IN = 0.004  # seconds of the jumphost's time
ROUND_TRIPS = 0.3  # seconds that a sign-in takes at least, on an idle jumphost
NOTICE = (0.02, 0.5)  # seconds from a failure to the agent's knowing
BEGIN, RATE, FULL = 10, 30, 100  # MaxStartups


class Policy(Protocol):
    """What an agent does after a failure."""

    def failed(self, now: float, fault: Fault) -> float:
        """Return when it dials again."""

    def connected(self, now: float) -> None:
        """Take note of the success."""


class Ours:
    """The real machine with the real backoff."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._state = TunnelState(0.0)
        for event in (Started(), Admitted(), SignedIn(), Granted(1)):
            self._state, _ = step(self._state, event, 0.0, 0.0)

    def failed(self, now: float, fault: Fault) -> float:
        if self._state.deadline is not None and self._state.retry_class is not None:
            due = self._state.deadline
            for event in (DeadlinePassed(), Admitted()):
                self._state, _ = step(self._state, event, due, self._chance.random())
        self._state, _ = step(self._state, Lost(fault, unclean=False), now, self._chance.random())
        assert self._state.deadline is not None
        return self._state.deadline

    def connected(self, now: float) -> None:
        for event in (DeadlinePassed(), Admitted(), SignedIn(), Granted(1)):
            self._state, _ = step(self._state, event, now, self._chance.random())


class Autossh:
    """autossh 1.4g (grace_time): five tries at once, then 2, 8, 18, 32 … s, at most 600; no chance in it."""

    def __init__(self, _chance: random.Random) -> None:
        self._tries = 0

    def failed(self, now: float, fault: Fault) -> float:
        self._tries += not isinstance(fault, ConnectionLost)
        slow = max(0, self._tries - 5)
        return now + min(600.0, int(6 * slow * slow / 3))

    def connected(self, now: float) -> None:
        """Need nothing."""


@dataclass
class Jumphost:
    """sshd's front door."""

    chance: random.Random
    free_at: float = DOWN
    greeting: list[float] = field(default_factory=list)  # when each sign-in under way will be done

    def admit(self, now: float) -> float | Fault:
        """Return when the sign-in is done, or why it never is."""
        if now < DOWN:
            return Unreachable("connection refused", hint="")
        while self.greeting and self.greeting[0] <= now:
            heapq.heappop(self.greeting)
        startups = len(self.greeting)
        if startups >= BEGIN:
            percent = RATE + (100 - RATE) * (startups - BEGIN) / (FULL - BEGIN)
            if startups >= FULL or self.chance.random() * 100 < percent:
                return TooManyConnections("Exceeded MaxStartups", hint="")
        self.free_at = max(self.free_at, now) + SIGN_IN
        done = max(self.free_at, now + ROUND_TRIPS)
        heapq.heappush(self.greeting, done)
        return done


@dataclass
class Outcome:
    """How it went; times count from the moment that the jumphost was back."""

    all_back: float  # infinite if some were not within the patience
    half_back: float
    dials: int
    worst_second: int
    attempts: list[float]  # when somebody dialled, also while the jumphost was down (negative)

    def __str__(self) -> str:
        return (
            f"half back after {self.half_back:.0f} s, all after {self.all_back:.0f} s, {self.dials} dials, "
            f"{self.worst_second} in the worst second"
        )


def restart(policy: Callable[[random.Random], Policy], *, patience: float = 7200.0) -> Outcome:
    chance = random.Random(2026)
    jumphost = Jumphost(chance)
    agents = [policy(chance) for _ in range(AGENTS)]
    order = itertools.count()
    agenda: list[tuple[float, int, int]] = []

    def fail(number: int, now: float, fault: Fault) -> None:
        noticed = now + chance.uniform(*NOTICE)
        heapq.heappush(agenda, (agents[number].failed(noticed, fault), next(order), number))

    for number in range(AGENTS):
        fail(number, 0.0, ConnectionLost("restart", hint=""))
    dials: list[float] = []
    back: list[float] = []
    while agenda and agenda[0][0] < patience:
        now, _, number = heapq.heappop(agenda)
        dials.append(now)
        answer = jumphost.admit(now)
        if isinstance(answer, Fault):
            fail(number, now, answer)
        else:
            agents[number].connected(answer)
            back.append(answer - DOWN)
    late = [now for now in dials if now >= DOWN]
    all_back = max(back) if len(back) == AGENTS else math.inf
    worst = max(Counter(map(int, late)).values())
    return Outcome(all_back, sorted(back)[AGENTS // 2], len(late), worst, [now - DOWN for now in dials])
