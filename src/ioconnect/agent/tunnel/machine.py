"""The whole life of a tunnel: one table, (phase, event) → what happens.

Pure: the time and the randomness are arguments of `step`, a timer is the one number `TunnelState.deadline`.

Theory of operation. A tunnel dials, signs in, asks for its port, and is connected only when the port is granted.
*Remote faults are weather*: whatever ends a session leads to a wait of its class (`agent.backoff`) and another dial;
nothing but StopRequested ends the tunnel. A port that is held elsewhere costs no session: the tunnel stays signed in
(standby) and asks again every few seconds for as long as it takes, since that works as soon as the port is free,
while a new sign-in works no sooner and costs the jumphost a handshake.

Which source port (DESIGN rule 11). After an unclean loss a dead session of ours may hold the port, and a dial from
the same local port makes the jumphost's kernel end it. So the first redial is from the remembered port. When such a
dial fails in a way for which the port itself may be to blame (`_PORT_MAY_BE_TO_BLAME`: some firewall remembers the
old connection and swallows the new), the next is from an ordinary one, and so on in turn. If an ordinary port is the
one that gets through and the forward is refused, our own dead session may be the reason: then one more dial from the
remembered port, once. A refusal after that is somebody else's doing, or beyond our means: standby.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

from ioconnect.agent.tunnel import backoff
from ioconnect.agent.tunnel.events import (
    AbortSession,
    Closed,
    CloseSession,
    Command,
    DeadlinePassed,
    Dial,
    Granted,
    Lost,
    MachineEvent,
    PortRefused,
    Probe,
    RequestForward,
    SignedIn,
    Started,
    StopRequested,
    Woken,
)
from ioconnect.agent.tunnel.state import SHOWN, Phase, TunnelState
from ioconnect.errors import ConnectionLost, Disposition, Fault, Reason, ReasonCode

DIAL_PATIENCE = 120.0  # seconds; the session's own deadlines are far shorter, this only catches one that hangs
ANSWER_PATIENCE = 60.0  # seconds for the answer to tcpip-forward, likewise
STOP_PATIENCE = 5.0  # seconds to leave cleanly before the socket is dropped
STUCK_AFTER = 1.0  # seconds; a dial this old has lost its first SYN (RFC 6298: 1 s), when woken a new one is faster


class IllegalEvent(Exception):
    """An event that cannot happen in this phase: a bug in whoever sent it. Nothing moved."""


Step: TypeAlias = tuple[TunnelState, tuple[Command, ...]]
_Move: TypeAlias = Callable[[TunnelState, Any, float, float], Step]

_PORT_MAY_BE_TO_BLAME = {ReasonCode.UNREACHABLE, ReasonCode.BANNER_TIMEOUT, ReasonCode.CONNECTION_LOST}


def step(state: TunnelState, event: MachineEvent, now: float, roll: float) -> Step:
    """Return the state after the event and what is to be done; `roll` is random in [0, 1).

    Raises IllegalEvent for what the table does not list; events that a race makes possible are listed as ignored.
    """
    move = TABLE[state.phase].get(type(event))
    if move is None:
        raise IllegalEvent(f"{type(event).__name__} while {state.phase.value}")
    return move(state, event, now, roll)


def _to(state: TunnelState, phase: Phase, now: float, **changes: Any) -> TunnelState:
    since = state.since if SHOWN[phase] is state.shown else now
    return replace(state, phase=phase, since=since, **changes)


# --- moves


def _ignore(state: TunnelState, _event: MachineEvent, _now: float, _roll: float) -> Step:
    return state, ()


def _start(state: TunnelState, event: Started, now: float, _roll: float) -> Step:
    return _dial_from(replace(state, ghost=event.same_port, down_since=now), now, same_port=event.same_port)


def _dial(state: TunnelState, _event: MachineEvent, now: float, _roll: float) -> Step:
    blamed = state.reason is not None and state.reason.code in _PORT_MAY_BE_TO_BLAME
    return _dial_from(state, now, same_port=state.ghost and not (state.same_port and blamed))


def _dial_from(state: TunnelState, now: float, *, same_port: bool, restarts: int = 0) -> Step:
    dialing = _to(
        state,
        Phase.DIALING,
        now,
        deadline=now + DIAL_PATIENCE,
        attempts=state.attempts + 1,
        wait=None,
        tried_at=now,
        same_port=same_port,
        restarts=restarts,
    )
    return dialing, (Dial(same_port),)


def _signed_in(state: TunnelState, _event: SignedIn, now: float, _roll: float) -> Step:
    return _to(state, Phase.ASKING, now, deadline=now + ANSWER_PATIENCE), ()


def _granted(state: TunnelState, _event: Granted, now: float, _roll: float) -> Step:
    connected = _to(
        state,
        Phase.CONNECTED,
        now,
        deadline=None,
        reason=None,
        wait=None,
        reconnects=state.reconnects + state.was_connected,
        was_connected=True,
        connected_at=now,
        down_since=None,
        ghost=False,
        same_port=False,
    )
    return connected, ()


def _refused(state: TunnelState, event: PortRefused, now: float, roll: float) -> Step:
    refused = replace(state, reason=_reason(event.fault), outage_began=_began(state, now))
    if state.ghost and not state.same_port:
        return _dial_from(replace(refused, ghost=False), now, same_port=True)
    deadline = now + backoff.delay(Disposition.RETRY_FORWARD, 1, 0.0, roll)
    return _to(refused, Phase.STANDBY, now, deadline=deadline, wait=Disposition.RETRY_FORWARD, ghost=False), ()


def _ask(state: TunnelState, _event: MachineEvent, now: float, _roll: float) -> Step:
    asking = _to(state, Phase.REASKING, now, deadline=now + ANSWER_PATIENCE, wait=None, tried_at=now)
    return asking, (RequestForward(),)


def _lost(state: TunnelState, event: Lost, now: float, roll: float) -> Step:
    if state.connected_at is not None:
        stable = now - state.connected_at >= backoff.STABLE_AFTER
        state = replace(state, connected_at=None, down_since=now, ghost=event.unclean)
        if stable:
            state = replace(state, retries=0, refusals=0, outage_began=None)
    wait = event.fault.disposition
    if wait is Disposition.RETRY_FORWARD:  # a session that ended over it: asking on it is not possible any more
        wait = Disposition.MAX_STARTUPS
    began = _began(state, now)
    slow = wait in _SLOW
    state = replace(state, retries=state.retries + (not slow), refusals=state.refusals + slow)
    pause = backoff.delay(wait, state.refusals if slow else state.retries, now - began, roll)
    phase = Phase.HELD if wait in _HOLDING else Phase.BACKOFF
    reason = _reason(event.fault)
    return _to(state, phase, now, deadline=now + pause, wait=wait, outage_began=began, reason=reason), ()


def _give_up(state: TunnelState, _event: DeadlinePassed, now: float, roll: float) -> Step:
    fault = ConnectionLost(
        f"the attempt made no progress for {now - state.tried_at:.0f} s",
        hint="It is tried again by itself; if this repeats, run with -v and look at the log.",
    )
    after, _ = _lost(state, Lost(fault, unclean=False), now, roll)
    return after, (AbortSession(),)


def _hurry(state: TunnelState, event: Woken, now: float, roll: float) -> Step:
    assert state.wait is not None
    assert state.deadline is not None
    earliest = now if event.asked else state.tried_at + backoff.soonest(state.wait)
    if earliest > now:
        return replace(state, deadline=min(state.deadline, earliest)), ()
    return (_ask if state.phase is Phase.STANDBY else _dial)(state, event, now, roll)


def _redial_if_stuck(state: TunnelState, event: Woken, now: float, _roll: float) -> Step:
    stuck = now - state.tried_at >= STUCK_AFTER * 2.0 ** min(state.restarts, 6)
    if not stuck or (state.refusals and not event.asked):
        return state, ()
    return _dial_from(state, now, same_port=state.same_port, restarts=state.restarts + 1)


def _probe(state: TunnelState, _event: Woken, _now: float, _roll: float) -> Step:
    return state, (Probe(),)


def _close(state: TunnelState, _event: StopRequested, now: float, _roll: float) -> Step:
    return _to(state, Phase.STOPPING, now, deadline=now + STOP_PATIENCE, wait=None), (CloseSession(),)


def _drop(state: TunnelState, _event: MachineEvent, now: float, _roll: float) -> Step:
    return _to(state, Phase.STOPPED, now, deadline=None), (AbortSession(),)


def _end(state: TunnelState, _event: MachineEvent, now: float, _roll: float) -> Step:
    return _to(state, Phase.STOPPED, now, deadline=None, wait=None), ()


def _began(state: TunnelState, now: float) -> float:
    return now if state.outage_began is None else state.outage_began


def _reason(fault: Fault) -> Reason:
    """Return the fault as status shows it; one without a code (the system refused something) is a lost connection."""
    return fault.reason if fault.code else Reason(ReasonCode.CONNECTION_LOST, fault.message, fault.hint)


_SLOW = {Disposition.HOLD, Disposition.PENALIZED, Disposition.EXIT}
_HOLDING = {Disposition.HOLD, Disposition.EXIT}
_WAITING: dict[type, _Move] = {DeadlinePassed: _dial, Woken: _hurry, StopRequested: _end}
_ANSWERED: dict[type, _Move] = {
    Granted: _granted,
    PortRefused: _refused,
    Lost: _lost,
    Woken: _probe,
    StopRequested: _close,
    DeadlinePassed: _give_up,
}

TABLE: dict[Phase, dict[type, _Move]] = {
    Phase.STOPPED: {Started: _start, Woken: _ignore, StopRequested: _ignore},
    Phase.DIALING: {
        SignedIn: _signed_in,
        Lost: _lost,
        Woken: _redial_if_stuck,
        StopRequested: _close,
        DeadlinePassed: _give_up,
    },
    Phase.ASKING: _ANSWERED,
    Phase.CONNECTED: {Lost: _lost, Woken: _probe, StopRequested: _close},
    Phase.BACKOFF: _WAITING,
    Phase.HELD: _WAITING,
    Phase.STANDBY: {DeadlinePassed: _ask, Woken: _hurry, Lost: _lost, StopRequested: _close},
    Phase.REASKING: _ANSWERED,
    Phase.STOPPING: {
        Closed: _end,
        Lost: _end,
        SignedIn: _ignore,  # these three were on their way when we asked to leave
        Granted: _ignore,
        PortRefused: _ignore,
        Woken: _ignore,
        StopRequested: _drop,
        DeadlinePassed: _drop,
    },
}
