"""Whose turn it is to dial a jumphost: an agent's own tunnels must not crowd it.

sshd turns connections away at random once ten of anybody's have not signed in yet (sshd_config(5), MaxStartups
10:30:100), and its PerSourceMaxStartups may be lower. So few of an agent's tunnels are between the start of the dial
and the sign-in at the same time, the others wait in a queue. A dial that hangs gives its slot up: after a while
without a connection it is none that sshd counts; one that hangs later counts, and leaves fewer slots to the others.

Pure. A jumphost is a host and a port as they are configured: two names of one machine are two jumphosts.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from ioconnect.agent.tunnel.state import Phase, TunnelState
from ioconnect.errors import ReasonCode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ioconnect.config.addresses import HostPort

SLOTS = 8  # dials at the same time
BEFORE_REFUSALS = 10  # connections without a sign-in, from which on sshd refuses by default
LEAST_SLOTS = 4  # however many dials hang: those that would not must not wait for them
HUNG_PENALTY = 30.0  # seconds of waiting that a tunnel whose last dial hung gives to others
CROWDED_SLOTS = 2  # while the jumphost turns one of these tunnels away


class Progress(Enum):
    """How far a dial has come; the value is how many seconds after its start it gives its slot up."""

    NONE = 1.5
    CONNECTED = 2.0
    HOST_KEY = 4.0  # verified: the sign-in is under way


@dataclass(frozen=True, slots=True)
class Candidate:
    """A tunnel, whatever it does."""

    name: str
    jumphost: HostPort
    state: TunnelState
    progress: Progress


def turns(candidates: Iterable[Candidate], now: float) -> tuple[tuple[str, ...], float | None]:
    """Return which queued tunnels are to dial now, and when to ask again unless something happens before.

    First come, first served, but one whose last dial hung gives HUNG_PENALTY away. None: nobody has to wait.
    """
    by_jumphost: defaultdict[HostPort, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        if candidate.state.phase in (Phase.QUEUED, Phase.DIALING, Phase.BACKOFF):
            by_jumphost[candidate.jumphost].append(candidate)
    admitted: list[str] = []
    ask_again: list[float] = []
    for group in by_jumphost.values():
        queue = [each for each in group if each.state.phase is Phase.QUEUED]
        if not queue:
            continue
        queue.sort(key=lambda each: each.state.queued_at + HUNG_PENALTY * each.state.has_hung)
        ends = [_slot_end(each) for each in group if each.state.phase is Phase.DIALING]
        free = max(0, _slots(group, now) - sum(end > now for end in ends))
        admitted += [each.name for each in queue[:free]]
        if len(queue) > free:
            ask_again.append(min((end for end in ends if end > now), default=now + Progress.NONE.value))
    return tuple(admitted), min(ask_again, default=None)


def _slots(group: Iterable[Candidate], now: float) -> int:
    """Return how many of this jumphost's tunnels may dial at the same time."""
    if any(each.state.reason and each.state.reason.code is ReasonCode.TOO_MANY_CONNECTIONS for each in group):
        return CROWDED_SLOTS
    hanging = sum(
        each.state.phase is Phase.DIALING and each.progress is not Progress.NONE and _slot_end(each) <= now
        for each in group
    )
    return min(SLOTS, max(LEAST_SLOTS, BEFORE_REFUSALS - hanging))


def _slot_end(dialing: Candidate) -> float:
    return dialing.state.attempted_at + dialing.progress.value
