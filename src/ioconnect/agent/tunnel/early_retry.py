"""How much sooner a tunnel retries when something happened: a user asked, the network or a file changed.

Pure. What no user asked for may repeat itself all day, and is held against the least that `backoff` allows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ioconnect.agent.tunnel import backoff
from ioconnect.disposition import Disposition

if TYPE_CHECKING:
    from ioconnect.agent.tunnel.events import RetryRequested
    from ioconnect.agent.tunnel.state import TunnelState

FILE_CHANGED_INTERVAL = 10.0  # seconds between two dials after a refusal for which a changed file is the cause
STALLED_AFTER = 1.0  # seconds, after which a SYN is retransmitted (RFC 6298): a new dial is faster


def hastened(state: TunnelState, event: RetryRequested, now: float) -> TunnelState:
    """Return a waiting or queued tunnel with its deadline brought forward; at most `now`: it retries at once.

    One that a user wants now goes before those whose last dial hung.
    """
    if event.by_user:
        return replace(state, deadline=None if state.deadline is None else now, has_hung=False)
    if state.deadline is None or state.retry_class is None:
        return state
    failures = state.sign_in_cuts if state.retry_class is Disposition.SIGN_IN_CUT else state.slow_failures
    earliest = state.attempted_at + backoff.minimum_interval(state.retry_class, max(failures, 1))
    return replace(state, deadline=min(state.deadline, max(earliest, now)))


def hastened_by_file(state: TunnelState, now: float) -> TunnelState:
    """Return a held tunnel with its deadline brought forward, as its identity or the pins changed.

    At once after a local fault, which troubled nobody else; after a jumphost's refusal not too often: dials for files
    that change all the time are apart as the waits after refusals are, from the first on.
    """
    assert state.deadline is not None
    if state.retry_class is Disposition.EXIT:
        return replace(state, deadline=now)
    earliest = max(now, state.attempted_at + FILE_CHANGED_INTERVAL)
    if state.file_dials:
        least = backoff.minimum_interval(Disposition.HOLD, state.file_dials)
        earliest = max(earliest, state.file_dialed_at + least)
    if earliest >= state.deadline:
        return state
    return replace(state, deadline=earliest, file_dials=state.file_dials + 1, file_dialed_at=earliest)


def is_stalled(state: TunnelState, event: RetryRequested, now: float) -> bool:
    """Whether a dial is better begun anew; not often, and not after a refusal: sshd counts an aborted sign-in."""
    stalled = now - state.attempted_at >= STALLED_AFTER * 2.0 ** min(state.early_redials, 6)
    return stalled and (event.by_user or not state.slow_failures)
