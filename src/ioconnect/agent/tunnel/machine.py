"""The state machine of a tunnel: one table, (phase, event) → transition.

Pure: time and random numbers are arguments of `step`; the only timer is `TunnelState.deadline`.

Theory of operation. A tunnel waits for its turn at the jumphost (`turnstile`), dials, signs in, requests its port
(tcpip-forward), and is connected once it is granted. Whatever ends a session leads to a wait, by the fault's retry
class (`backoff`), and another dial; only StopRequested ends the tunnel. A refused port does not end the session: the
tunnel stays signed in (standby) and repeats the request every few seconds. That succeeds as soon as the port is free;
a new session would be no faster and costs the jumphost a key exchange.

Source ports. After an unclean loss a dead session of ours may still hold the port on the jumphost. A dial from the
source port of that session makes the jumphost's kernel reset it (RFC 5961 §4), so the first redial reuses it.
Some firewalls remember the old connection and drop the new one. A SYN that gets no answer costs a head start: the
dial tries an ordinary port as well, and SignedIn tells which one connected. After a failure later on that may come
from this (`_SOURCE_PORT_SUSPECT`) the next dial uses an ordinary port alone, and so on in turn. If an ordinary port
signs in and the forward is refused, the dead session may be the reason: one more dial reuses the source port. If it
is refused once more, another agent holds the port, or the dead session cannot be reached: standby.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

from ioconnect.agent.tunnel import backoff, early_retry
from ioconnect.agent.tunnel.events import (
    AbortSession,
    Admitted,
    Closed,
    CloseSession,
    Command,
    DeadlinePassed,
    Dial,
    FileChanged,
    Granted,
    Lost,
    MachineEvent,
    PortRefused,
    Probe,
    RequestForward,
    RetryRequested,
    SignedIn,
    Started,
    StopRequested,
)
from ioconnect.agent.tunnel.state import SHOWN, Phase, TunnelState
from ioconnect.disposition import Disposition
from ioconnect.errors import ConnectionLost, Fault, Reason, ReasonCode

DIAL_TIMEOUT = 120.0  # seconds; far longer than the session's own deadlines, for a session that hangs
FORWARD_REPLY_TIMEOUT = 60.0  # seconds for the reply to tcpip-forward, likewise
STOP_TIMEOUT = 3.0  # seconds for a clean close before the session is aborted; the agent ends within 5
HUNG_AFTER = 2.0  # seconds of a dial that failed, after which the tunnel's next one goes after others'


class IllegalEvent(Exception):
    """An event that cannot happen in this phase: a bug in the sender. The state is unchanged."""


Step: TypeAlias = tuple[TunnelState, tuple[Command, ...]]
_Transition: TypeAlias = Callable[[TunnelState, Any, float, float], Step]

_BEFORE_THE_DIAL = {ReasonCode.IDENTITY_MISSING, ReasonCode.IDENTITY_UNREADABLE, ReasonCode.HOST_KEY_UNPINNED}
_SOURCE_PORT_SUSPECT = {ReasonCode.BANNER_TIMEOUT, ReasonCode.CONNECTION_LOST}


def step(state: TunnelState, event: MachineEvent, now: float, random: float) -> Step:
    """Return the state after the event and the commands to carry out; `random` is a random number in [0, 1).

    Raises IllegalEvent for an event that the table does not list; events that races cause are listed as ignored.
    """
    transition = TABLE[state.phase].get(type(event))
    if transition is None:
        raise IllegalEvent(f"{type(event).__name__} while {state.phase.value}")
    return transition(state, event, now, random)


def _enter(state: TunnelState, phase: Phase, now: float, **changes: Any) -> TunnelState:
    since = state.since if SHOWN[phase] is state.shown else now
    return replace(state, phase=phase, since=since, **changes)


# --- transitions


def _ignore(state: TunnelState, _event: MachineEvent, _now: float, _random: float) -> Step:
    return state, ()


def _start(state: TunnelState, event: Started, now: float, _random: float) -> Step:
    state = replace(state, dead_session=event.reuse_source, down_since=now)
    return _queue(state, now, reuse_source=event.reuse_source)


def _redial(state: TunnelState, _event: MachineEvent, now: float, _random: float) -> Step:
    suspect = state.reason is not None and state.reason.code in _SOURCE_PORT_SUSPECT
    return _queue(state, now, reuse_source=state.dead_session and not (state.reuse_source and suspect))


def _queue(state: TunnelState, now: float, *, reuse_source: bool, early_redials: int = 0) -> Step:
    """Have the tunnel wait for its turn; a session that it has is given up at once."""
    queued = _enter(
        state,
        Phase.QUEUED,
        now,
        deadline=None,
        retry_class=None,
        reuse_source=reuse_source,
        early_redials=early_redials,
        queued_at=now,
    )
    return queued, (AbortSession(),) if state.phase in _WITH_SESSION else ()


def _dial(state: TunnelState, _event: Admitted, now: float, _random: float) -> Step:
    dialing = _enter(
        state,
        Phase.DIALING,
        now,
        deadline=now + DIAL_TIMEOUT,
        attempts=state.attempts + 1,
        attempted_at=now,
        reused_source=None,
    )
    return dialing, (Dial(state.reuse_source),)


def _hurry(state: TunnelState, event: RetryRequested, now: float, _random: float) -> Step:
    return early_retry.hastened(state, event, now), ()


def _signed_in(state: TunnelState, event: SignedIn, now: float, _random: float) -> Step:
    if state.reuse_source:
        state = replace(state, reuse_source=event.reused_source, reused_source=event.reused_source)
    return _enter(state, Phase.REQUESTING, now, deadline=now + FORWARD_REPLY_TIMEOUT), ()


def _granted(state: TunnelState, _event: Granted, now: float, _random: float) -> Step:
    connected = _enter(
        state,
        Phase.CONNECTED,
        now,
        deadline=None,
        reason=None,
        retry_class=None,
        reconnects=state.reconnects + state.was_connected,
        was_connected=True,
        connected_at=now,
        down_since=None,
        dead_session=False,
        reuse_source=False,
    )
    return connected, ()


def _port_refused(state: TunnelState, event: PortRefused, now: float, random: float) -> Step:
    refused = replace(state, reason=_reason(event.fault), outage_began=_outage_start(state, now))
    if state.dead_session and not state.reuse_source:
        return _queue(replace(refused, dead_session=False), now, reuse_source=True)
    retry_class = Disposition.RETRY_FORWARD
    deadline = now + backoff.delay(retry_class, 1, 0.0, random)
    return _enter(refused, Phase.STANDBY, now, deadline=deadline, retry_class=retry_class, dead_session=False), ()


def _request_forward(state: TunnelState, _event: MachineEvent, now: float, _random: float) -> Step:
    deadline = now + FORWARD_REPLY_TIMEOUT
    state = _enter(state, Phase.REQUESTING_AGAIN, now, deadline=deadline, retry_class=None, attempted_at=now)
    return state, (RequestForward(),)


def _lost(state: TunnelState, event: Lost, now: float, random: float) -> Step:
    if state.connected_at is not None:
        stable = now - state.connected_at >= backoff.STABLE_UPTIME
        state = replace(state, connected_at=None, down_since=now, dead_session=event.unclean)
        if stable:
            state = replace(state, fast_failures=0, slow_failures=0, file_dials=0, sign_in_cuts=0, outage_began=None)
    retry_class = event.fault.disposition
    if retry_class is Disposition.RETRY_FORWARD:  # the session ended: there is none to repeat the request on
        retry_class = Disposition.MAX_STARTUPS
    began = _outage_start(state, now)
    slow = retry_class in _SLOW_CLASSES
    state = replace(state, fast_failures=state.fast_failures + (not slow), slow_failures=state.slow_failures + slow)
    is_cut = retry_class is Disposition.SIGN_IN_CUT
    cuts = 0 if retry_class is Disposition.RETRY else state.sign_in_cuts + is_cut
    failures = cuts if is_cut else state.slow_failures if slow else state.fast_failures
    if event.fault.code in _BEFORE_THE_DIAL and state.phase is Phase.DIALING:
        state = replace(state, attempts=state.attempts - 1)
    has_hung = state.phase is Phase.DIALING and now - state.attempted_at > HUNG_AFTER
    delay = backoff.delay(retry_class, failures, now - began, random)
    phase = Phase.HELD if retry_class in _HELD_CLASSES else Phase.BACKOFF
    state = replace(state, outage_began=began, reason=_reason(event.fault), has_hung=has_hung, sign_in_cuts=cuts)
    return _enter(state, phase, now, deadline=now + delay, retry_class=retry_class), ()


def _time_out(state: TunnelState, _event: DeadlinePassed, now: float, random: float) -> Step:
    fault = ConnectionLost(
        f"the attempt made no progress for {now - state.attempted_at:.0f} s",
        hint="It is tried again by itself; if this repeats, run with -v and look at the log.",
    )
    after, _ = _lost(state, Lost(fault, unclean=False), now, random)
    return after, (AbortSession(),)


def _retry_early(state: TunnelState, event: RetryRequested, now: float, random: float) -> Step:
    state = early_retry.hastened(state, event, now)
    assert state.deadline is not None
    if state.deadline > now:
        return state, ()
    return (_request_forward if state.phase is Phase.STANDBY else _redial)(state, event, now, random)


def _retry_with_changed_file(state: TunnelState, event: FileChanged, now: float, random: float) -> Step:
    state = early_retry.hastened_by_file(state, now)
    assert state.deadline is not None
    return (state, ()) if state.deadline > now else _redial(state, event, now, random)


def _redial_if_stalled(state: TunnelState, event: RetryRequested, now: float, _random: float) -> Step:
    if not early_retry.is_stalled(state, event, now):
        return state, ()
    return _queue(state, now, reuse_source=state.reuse_source, early_redials=state.early_redials + 1)


def _probe(state: TunnelState, _event: RetryRequested, _now: float, _random: float) -> Step:
    return state, (Probe(),)


def _close(state: TunnelState, _event: StopRequested, now: float, _random: float) -> Step:
    return _enter(state, Phase.STOPPING, now, deadline=now + STOP_TIMEOUT, retry_class=None), (CloseSession(),)


def _abort(state: TunnelState, _event: MachineEvent, now: float, _random: float) -> Step:
    return _enter(state, Phase.STOPPED, now, deadline=None), (AbortSession(),)


def _stopped(state: TunnelState, _event: MachineEvent, now: float, _random: float) -> Step:
    return _enter(state, Phase.STOPPED, now, deadline=None, retry_class=None), ()


def _outage_start(state: TunnelState, now: float) -> float:
    return now if state.outage_began is None else state.outage_began


def _reason(fault: Fault) -> Reason:
    """Return the fault as status shows it; one without a code (a system call failed) counts as a lost connection."""
    return fault.reason if fault.code else Reason(ReasonCode.CONNECTION_LOST, fault.message, fault.hint)


_WITH_SESSION = {Phase.DIALING, Phase.REQUESTING, Phase.REQUESTING_AGAIN}
_SLOW_CLASSES = {Disposition.HOLD, Disposition.PENALIZED, Disposition.EXIT}
_HELD_CLASSES = {Disposition.HOLD, Disposition.EXIT}
_WAITING_TO_DIAL: dict[type, _Transition] = {
    DeadlinePassed: _redial,
    RetryRequested: _retry_early,
    StopRequested: _stopped,
}
_REPLY_PENDING: dict[type, _Transition] = {
    Granted: _granted,
    PortRefused: _port_refused,
    Lost: _lost,
    RetryRequested: _probe,
    StopRequested: _close,
    DeadlinePassed: _time_out,
}

TABLE: dict[Phase, dict[type, _Transition]] = {
    Phase.STOPPED: {Started: _start, RetryRequested: _ignore, StopRequested: _ignore},
    Phase.QUEUED: {Admitted: _dial, RetryRequested: _hurry, StopRequested: _stopped},
    Phase.DIALING: {
        SignedIn: _signed_in,
        Lost: _lost,
        RetryRequested: _redial_if_stalled,
        StopRequested: _close,
        DeadlinePassed: _time_out,
    },
    Phase.REQUESTING: _REPLY_PENDING,
    Phase.CONNECTED: {Lost: _lost, RetryRequested: _probe, StopRequested: _close},
    Phase.BACKOFF: _WAITING_TO_DIAL,
    Phase.HELD: {**_WAITING_TO_DIAL, FileChanged: _retry_with_changed_file},
    Phase.STANDBY: {
        DeadlinePassed: _request_forward,
        RetryRequested: _retry_early,
        Lost: _lost,
        StopRequested: _close,
    },
    Phase.REQUESTING_AGAIN: _REPLY_PENDING,
    Phase.STOPPING: {
        Closed: _stopped,
        Lost: _stopped,
        SignedIn: _ignore,  # these three were queued before the stop
        Granted: _ignore,
        PortRefused: _ignore,
        RetryRequested: _ignore,
        StopRequested: _abort,
        DeadlinePassed: _abort,
    },
}
for _phase in set(Phase) - {Phase.HELD}:
    TABLE[_phase] = {**TABLE[_phase], FileChanged: _ignore}  # reported while the tunnel left the phase
