"""The whole life of a tunnel: every event in every phase, then the sequences that matter."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from ioconnect.agent.tunnel import machine
from ioconnect.agent.tunnel.backoff import STABLE_UPTIME
from ioconnect.agent.tunnel.early_retry import FILE_CHANGED_INTERVAL
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
from ioconnect.agent.tunnel.machine import IllegalEvent, step
from ioconnect.agent.tunnel.state import SHOWN, Phase, TunnelState
from ioconnect.disposition import Disposition
from ioconnect.errors import (
    AuthRefused,
    BannerTimeout,
    ConnectionLost,
    Fault,
    IdentityUnreadable,
    KeepaliveTimeout,
    NameNotResolved,
    Penalized,
    PortBusy,
    ReasonCode,
    SystemRefused,
    TooManyConnections,
    Unreachable,
)
from ioconnect.status.snapshots import State

NOW = 1000.0
BUSY = PortBusy("port 58115 on j is held by another session", hint="stop it")
GONE = Unreachable("j: connection refused", hint="wait")
REFUSED = AuthRefused("j refused the key", hint="register it")

EVENTS: dict[type, MachineEvent] = {
    Started: Started(),
    Admitted: Admitted(),
    SignedIn: SignedIn(),
    Granted: Granted(58115),
    PortRefused: PortRefused(BUSY),
    Lost: Lost(GONE, unclean=False),
    Closed: Closed(),
    RetryRequested: RetryRequested("test"),
    FileChanged: FileChanged(),
    StopRequested: StopRequested(),
    DeadlinePassed: DeadlinePassed(),
}

_up = TunnelState(900.0, attempts=1, was_connected=True)
STATES: dict[Phase, TunnelState] = {
    Phase.STOPPED: TunnelState(0.0),
    Phase.QUEUED: replace(_up, phase=Phase.QUEUED, queued_at=995.0),
    Phase.DIALING: replace(_up, phase=Phase.DIALING, deadline=1020.0, attempted_at=990.0),
    Phase.REQUESTING: replace(_up, phase=Phase.REQUESTING, deadline=1020.0, attempted_at=990.0),
    Phase.CONNECTED: replace(_up, phase=Phase.CONNECTED, connected_at=900.0),
    Phase.BACKOFF: replace(
        _up,
        phase=Phase.BACKOFF,
        deadline=1001.0,
        retry_class=Disposition.RETRY,
        reason=GONE.reason,
        attempted_at=990.0,
    ),
    Phase.HELD: replace(
        _up,
        phase=Phase.HELD,
        deadline=1020.0,
        retry_class=Disposition.HOLD,
        reason=REFUSED.reason,
        attempted_at=990.0,
    ),
    Phase.STANDBY: replace(
        _up,
        phase=Phase.STANDBY,
        deadline=1002.0,
        retry_class=Disposition.RETRY_FORWARD,
        reason=BUSY.reason,
        attempted_at=990.0,
    ),
    Phase.REQUESTING_AGAIN: replace(
        _up, phase=Phase.REQUESTING_AGAIN, deadline=1020.0, reason=BUSY.reason, attempted_at=990.0
    ),
    Phase.STOPPING: replace(_up, phase=Phase.STOPPING, deadline=1005.0),
}

DIAL, REQUEST, PROBE, CLOSE, ABORT = (
    Dial(reuse_source=False),
    RequestForward(),
    Probe(),
    CloseSession(),
    AbortSession(),
)
Move = tuple[Phase, tuple[Command, ...]]

LEGAL: dict[Phase, dict[type, Move]] = {
    Phase.STOPPED: {
        Started: (Phase.QUEUED, ()),
        RetryRequested: (Phase.STOPPED, ()),
        StopRequested: (Phase.STOPPED, ()),
        FileChanged: (Phase.STOPPED, ()),
    },
    Phase.QUEUED: {
        Admitted: (Phase.DIALING, (DIAL,)),
        RetryRequested: (Phase.QUEUED, ()),
        StopRequested: (Phase.STOPPED, ()),
        FileChanged: (Phase.QUEUED, ()),
    },
    Phase.DIALING: {
        SignedIn: (Phase.REQUESTING, ()),
        Lost: (Phase.BACKOFF, ()),
        RetryRequested: (Phase.QUEUED, (ABORT,)),
        StopRequested: (Phase.STOPPING, (CLOSE,)),
        DeadlinePassed: (Phase.BACKOFF, (ABORT,)),
        FileChanged: (Phase.DIALING, ()),
    },
    Phase.REQUESTING: {
        Granted: (Phase.CONNECTED, ()),
        PortRefused: (Phase.STANDBY, ()),
        Lost: (Phase.BACKOFF, ()),
        RetryRequested: (Phase.REQUESTING, (PROBE,)),
        StopRequested: (Phase.STOPPING, (CLOSE,)),
        DeadlinePassed: (Phase.BACKOFF, (ABORT,)),
        FileChanged: (Phase.REQUESTING, ()),
    },
    Phase.CONNECTED: {
        Lost: (Phase.BACKOFF, ()),
        RetryRequested: (Phase.CONNECTED, (PROBE,)),
        StopRequested: (Phase.STOPPING, (CLOSE,)),
        FileChanged: (Phase.CONNECTED, ()),
    },
    Phase.BACKOFF: {
        RetryRequested: (Phase.QUEUED, ()),
        StopRequested: (Phase.STOPPED, ()),
        DeadlinePassed: (Phase.QUEUED, ()),
        FileChanged: (Phase.BACKOFF, ()),
    },
    Phase.HELD: {
        RetryRequested: (Phase.QUEUED, ()),
        StopRequested: (Phase.STOPPED, ()),
        DeadlinePassed: (Phase.QUEUED, ()),
        FileChanged: (Phase.QUEUED, ()),
    },
    Phase.STANDBY: {
        Lost: (Phase.BACKOFF, ()),
        RetryRequested: (Phase.REQUESTING_AGAIN, (REQUEST,)),
        StopRequested: (Phase.STOPPING, (CLOSE,)),
        DeadlinePassed: (Phase.REQUESTING_AGAIN, (REQUEST,)),
        FileChanged: (Phase.STANDBY, ()),
    },
    Phase.REQUESTING_AGAIN: {
        Granted: (Phase.CONNECTED, ()),
        PortRefused: (Phase.STANDBY, ()),
        Lost: (Phase.BACKOFF, ()),
        RetryRequested: (Phase.REQUESTING_AGAIN, (PROBE,)),
        StopRequested: (Phase.STOPPING, (CLOSE,)),
        DeadlinePassed: (Phase.BACKOFF, (ABORT,)),
        FileChanged: (Phase.REQUESTING_AGAIN, ()),
    },
    Phase.STOPPING: {
        SignedIn: (Phase.STOPPING, ()),
        Granted: (Phase.STOPPING, ()),
        PortRefused: (Phase.STOPPING, ()),
        Lost: (Phase.STOPPED, ()),
        Closed: (Phase.STOPPED, ()),
        RetryRequested: (Phase.STOPPING, ()),
        StopRequested: (Phase.STOPPED, (ABORT,)),
        DeadlinePassed: (Phase.STOPPED, (ABORT,)),
        FileChanged: (Phase.STOPPING, ()),
    },
}


def take(state: TunnelState, event: MachineEvent, now: float, random: float) -> machine.Step:
    """Step, and have a tunnel that is queued by that dial at once: as if it were the only one."""
    before = state.phase
    state, commands = step(state, event, now, random)
    if state.phase is not Phase.QUEUED or before is Phase.QUEUED:
        return state, commands
    state, more = step(state, Admitted(), now, random)
    return state, commands + more


def go(state: TunnelState, *events: MachineEvent, now: float = NOW, random: float = 0.5) -> TunnelState:
    """Return the state after the events, all at one moment."""
    for event in events:
        state, _ = take(state, event, now, random)
    return state


def lost(fault: Fault = GONE, *, unclean: bool = False) -> Lost:
    return Lost(fault, unclean=unclean)


# --- the table


def test_the_examples_cover_every_phase_and_event() -> None:
    assert set(STATES) == set(LEGAL) == set(machine.TABLE) == set(SHOWN) == set(Phase)
    assert set(EVENTS) == set(get_args(MachineEvent))
    assert all(state.phase is phase for phase, state in STATES.items())


@pytest.mark.parametrize("event", EVENTS.values(), ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("phase", Phase)
def test_every_event_in_every_phase_moves_as_written_or_is_refused(phase: Phase, event: MachineEvent) -> None:
    state = STATES[phase]
    expected = LEGAL[phase].get(type(event))
    if expected is None:
        with pytest.raises(IllegalEvent, match=f"{type(event).__name__} while {phase.value}"):
            step(state, event, NOW, 0.5)
        return

    after, commands = step(state, event, NOW, 0.5)

    assert (after.phase, commands) == expected


@pytest.mark.parametrize("phase", Phase)
def test_every_state_has_a_way_on(phase: Phase) -> None:
    """Where no event must come, there is a deadline; otherwise the tunnel would be stuck."""
    somebody_speaks = {Phase.CONNECTED, Phase.STOPPED, Phase.QUEUED}
    assert (STATES[phase].deadline is not None) == (phase not in somebody_speaks)
    for event in EVENTS.values():
        if type(event) in LEGAL[phase]:
            after = go(STATES[phase], event)
            assert (after.deadline is not None) == (after.phase not in somebody_speaks)


@pytest.mark.parametrize("phase", Phase)
def test_only_the_shown_state_counts_for_since(phase: Phase) -> None:
    for event in EVENTS.values():
        if type(event) in LEGAL[phase]:
            before = STATES[phase]
            after = go(before, event)
            assert after.since == (before.since if after.shown is before.shown else NOW)


# --- connecting and reasons


def test_the_reason_stays_from_a_loss_until_the_port_is_granted_again() -> None:
    state = go(STATES[Phase.CONNECTED], lost(KeepaliveTimeout("silent", hint="wait")))
    seen = [state.reason]
    for event in (DeadlinePassed(), SignedIn(), Granted(58115)):
        state = go(state, event)
        seen.append(state.reason)

    assert [reason and reason.code for reason in seen] == [ReasonCode.KEEPALIVE_TIMEOUT] * 3 + [None]


def test_attempts_count_dials_and_reconnects_count_returns() -> None:
    state = go(TunnelState(0.0), Started(), lost(), DeadlinePassed(), SignedIn(), Granted(58115))
    assert (state.attempts, state.reconnects) == (2, 0)

    state = go(state, lost(), DeadlinePassed(), SignedIn(), Granted(58115))
    assert (state.attempts, state.reconnects) == (3, 1)


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        (GONE, State.BACKOFF),
        (NameNotResolved("no address for j", hint="DNS"), State.BACKOFF),
        (TooManyConnections("j is crowded", hint="wait"), State.BACKOFF),
        (Penalized("j punishes us", hint="wait"), State.BACKOFF),
        (BUSY, State.BACKOFF),
        (REFUSED, State.HELD),
        (IdentityUnreadable("id is mode 0644", hint="chmod 600"), State.HELD),
    ],
    ids=lambda value: type(value).__name__,
)
def test_nothing_that_ends_a_session_ends_the_tunnel(fault: Fault, shown: State) -> None:
    """Also a local fault of a running agent is retried: a user may mend it."""
    state = go(STATES[Phase.DIALING], lost(fault))

    assert (state.shown, state.reason) == (shown, fault.reason)
    assert state.deadline is not None
    assert go(state, DeadlinePassed()).shown is State.CONNECTING


def test_a_fault_without_a_reason_code_is_shown_as_a_lost_connection() -> None:
    state = go(STATES[Phase.DIALING], lost(SystemRefused("too many open files", hint="raise the limit")))

    assert state.reason is not None
    assert (state.reason.code, state.reason.message) == (ReasonCode.CONNECTION_LOST, "too many open files")


# --- waiting


def waited(state: TunnelState, now: float = NOW) -> float:
    assert state.deadline is not None
    return state.deadline - now


def test_backoff_grows_and_is_reset_only_by_a_stable_uptime() -> None:
    state = STATES[Phase.DIALING]
    for _ in range(6):
        state = go(state, lost(), DeadlinePassed())
    brief = go(state, SignedIn(), Granted(58115))

    early = go(brief, lost(ConnectionLost("reset", hint="")), now=NOW + STABLE_UPTIME - 1, random=0.9)
    late = go(brief, lost(ConnectionLost("reset", hint="")), now=NOW + STABLE_UPTIME, random=0.9)

    assert waited(early, NOW + STABLE_UPTIME - 1) == pytest.approx(4.05)
    assert waited(late, NOW + STABLE_UPTIME) == pytest.approx(0.9)


def test_network_failures_between_two_refusals_do_not_reset_their_count() -> None:
    state = go(STATES[Phase.DIALING], lost(REFUSED), DeadlinePassed(), lost(), DeadlinePassed(), random=0.0)
    state = go(state, lost(REFUSED), random=0.0)

    assert waited(state) == 60


def cut() -> Lost:
    """Return an end in mid sign-in, after which sshd counts a failure of this address."""
    fault = ConnectionLost("j closed the connection during the sign-in", hint="wait")
    fault.disposition = Disposition.SIGN_IN_CUT
    return lost(fault)


def test_ends_in_mid_sign_in_wait_as_refusals_do_unless_the_network_failed_in_between() -> None:
    """A jumphost that is restarted twice, or a link that flaps, may hit the sign-in twice in one outage."""
    state = go(STATES[Phase.DIALING], cut(), random=0.0)
    assert waited(state) == 2
    for seconds in (60, 120):
        state = go(state, DeadlinePassed(), cut(), random=0.0)
        assert waited(state) == seconds

    state = go(state, DeadlinePassed(), lost(), DeadlinePassed(), cut(), random=0.0)
    assert waited(state) == 2
    assert state.slow_failures == 0


def test_a_flapping_link_does_not_retry_an_end_in_mid_sign_in_early() -> None:
    state = go(STATES[Phase.DIALING], cut(), DeadlinePassed(), cut(), random=0.0)

    assert waited(go(state, RetryRequested("link", by_user=False))) == 60
    assert go(state, RetryRequested("user")).phase is Phase.DIALING


def test_retries_slow_down_after_five_minutes_of_one_outage() -> None:
    state = go(STATES[Phase.CONNECTED], lost(), random=0.9)
    for _ in range(8):
        state = go(state, DeadlinePassed(), lost(), now=NOW + 200, random=0.9)
    assert waited(state, NOW + 200) == pytest.approx(4.05)

    state = go(state, DeadlinePassed(), lost(), now=NOW + 301, random=0.9)
    assert waited(state, NOW + 301) == pytest.approx(13.5)


def test_a_session_that_hangs_is_aborted_and_retried() -> None:
    state, commands = take(STATES[Phase.REQUESTING], DeadlinePassed(), NOW, 0.5)

    assert commands == (ABORT,)
    assert state.reason is not None
    assert "no progress for 10 s" in state.reason.message


# --- hastened


@pytest.mark.parametrize("phase", [Phase.BACKOFF, Phase.HELD])
def test_a_retry_that_a_user_requested_ends_every_wait(phase: Phase) -> None:
    state = replace(STATES[phase], attempted_at=NOW - 0.01)

    assert take(state, RetryRequested("reconnect"), NOW, 0.5)[1] == (DIAL,)


def test_a_flapping_link_does_not_retry_a_refused_key_early() -> None:
    """Nor for ever at the pace of its first wait: a day of changes is some hundred tries, not 2880."""
    state = go(STATES[Phase.DIALING], lost(REFUSED), DeadlinePassed(), lost(REFUSED), random=0.9)
    hastened, commands = take(state, RetryRequested("address changed", by_user=False), NOW + 1, 0.5)

    assert commands == ()
    assert hastened.deadline == NOW + 60
    assert take(hastened, RetryRequested("address changed", by_user=False), NOW + 60, 0.5)[1] == (DIAL,)


def refusals_in_a_day(event: MachineEvent, *, every: float) -> int:
    """Return how often a key is offered that is always refused, while this event comes so often."""
    state, now, commands = STATES[Phase.HELD], NOW, ()
    while now < NOW + 86400:
        now += every
        for each in (DeadlinePassed(),) if state.deadline is not None and state.deadline <= now else (event,):
            state, commands = take(state, each, now, 0.5)
        if commands:
            state = go(state, lost(REFUSED), now=now)
    return state.attempts - 1


def test_a_day_of_network_changes_and_of_changed_files_offers_a_refused_key_rarely() -> None:
    """Every 15 minutes at the end; a file that changes all the time adds as many at most."""
    assert refusals_in_a_day(RetryRequested("link up", by_user=False), every=1.0) <= 110
    assert refusals_in_a_day(FileChanged(), every=2.0) <= 220


def test_a_network_change_brings_a_waiting_tunnel_back_within_half_a_second() -> None:
    state = replace(STATES[Phase.BACKOFF], attempted_at=NOW - 0.1, deadline=NOW + 12)
    hastened = go(state, RetryRequested("link up", by_user=False))

    assert waited(hastened) == pytest.approx(0.4)


def test_a_network_change_never_prolongs_a_wait() -> None:
    state = replace(STATES[Phase.HELD], attempted_at=NOW - 1, deadline=NOW + 5)

    assert waited(go(state, RetryRequested("link up", by_user=False))) == 5


def test_a_dial_that_lost_its_first_syn_is_restarted_but_not_for_ever() -> None:
    recent = replace(STATES[Phase.DIALING], attempted_at=NOW - 0.9)
    assert take(recent, RetryRequested("link up", by_user=False), NOW, 0.5) == (recent, ())

    state, dials, now = replace(STATES[Phase.DIALING], attempted_at=NOW - 5), 0, NOW
    while now < NOW + 60:
        state, commands = take(state, RetryRequested("link up", by_user=False), now, 0.5)
        dials += DIAL in commands
        now += 0.25

    assert 1 <= dials <= 7


def test_a_network_change_leaves_a_dial_alone_after_a_refusal() -> None:
    """An aborted sign-in counts as a failed one for sshd's penalties."""
    state = replace(STATES[Phase.DIALING], slow_failures=1)

    assert take(state, RetryRequested("link up", by_user=False), NOW, 0.5) == (state, ())
    assert take(state, RetryRequested("reconnect"), NOW, 0.5)[1] == (ABORT, DIAL)


# --- its turn


def test_a_tunnel_that_waits_for_its_turn_has_not_dialled_and_dials_with_a_whole_deadline() -> None:
    queued, commands = step(STATES[Phase.BACKOFF], DeadlinePassed(), NOW, 0.5)
    assert (queued.shown, queued.attempts, queued.deadline, commands) == (State.CONNECTING, 1, None, ())

    dialing, commands = step(queued, Admitted(), NOW + 9, 0.5)
    assert (dialing.attempts, dialing.deadline, commands) == (2, NOW + 9 + machine.DIAL_TIMEOUT, (DIAL,))
    assert dialing.attempted_at == NOW + 9


def test_only_a_dial_that_took_long_to_fail_has_hung_and_a_user_forgets_it() -> None:
    quick = go(replace(STATES[Phase.DIALING], attempted_at=NOW - 0.1), lost())
    slow = go(replace(STATES[Phase.DIALING], attempted_at=NOW - 10), lost())
    assert (quick.has_hung, slow.has_hung) == (False, True)

    queued, _ = step(slow, DeadlinePassed(), NOW + 1, 0.5)
    assert queued.has_hung
    assert step(queued, RetryRequested("link up", by_user=False), NOW, 0.5)[0].has_hung
    assert not step(queued, RetryRequested("reconnect"), NOW, 0.5)[0].has_hung
    assert not step(slow, RetryRequested("reconnect"), NOW, 0.5)[0].has_hung
    assert not go(queued, Admitted(), lost(REFUSED), now=NOW + 0.5).has_hung


# --- the port


def test_standby_stays_signed_in_and_repeats_the_request_every_few_seconds() -> None:
    """No new sign-in in ten minutes of a busy port, and a request at least every 5 s."""
    state, now, requests = go(STATES[Phase.REQUESTING], PortRefused(BUSY)), NOW, 0
    while now < NOW + 600:
        assert state.deadline is not None
        assert 1 <= state.deadline - now <= 5
        now = state.deadline
        state, commands = take(state, DeadlinePassed(), now, (requests % 10) / 10)
        assert commands == (REQUEST,)
        state = go(state, PortRefused(BUSY), now=now)
        requests += 1

    assert state.attempts == 1
    assert (state.shown, state.since) == (State.STANDBY, NOW)
    assert go(state, DeadlinePassed(), Granted(58115), now=now).shown is State.CONNECTED


def commands_of(state: TunnelState, *events: MachineEvent) -> list[Command]:
    commanded: list[Command] = []
    for event in events:
        state, commands = take(state, event, NOW, 0.5)
        commanded += [command for command in commands if command != ABORT]
    return commanded


SAME, OTHER = Dial(reuse_source=True), Dial(reuse_source=False)
TIMED_OUT = lost(Unreachable("j: timed out", hint=""))
SILENT = lost(BannerTimeout("j: silent", hint=""))
UNCLEAN = lost(KeepaliveTimeout("silent", hint=""), unclean=True)


def test_after_a_clean_loss_any_port_will_do() -> None:
    assert commands_of(STATES[Phase.CONNECTED], lost(), DeadlinePassed()) == [OTHER]


def test_after_an_unclean_loss_the_stored_source_port_comes_first_and_an_ephemeral_one_after_it_failed() -> None:
    again = (DeadlinePassed(), SILENT)
    assert commands_of(STATES[Phase.CONNECTED], UNCLEAN, *again, *again, *again) == [SAME, OTHER, SAME]


def test_a_failure_that_is_not_the_ports_fault_changes_no_port() -> None:
    """A dial that nothing answered was made from an ordinary port too."""
    no_name = lost(NameNotResolved("no address", hint=""))
    story = (UNCLEAN, DeadlinePassed(), no_name, DeadlinePassed(), TIMED_OUT, DeadlinePassed())
    assert commands_of(STATES[Phase.CONNECTED], *story) == [SAME, SAME, SAME]


def test_an_ephemeral_port_that_meets_our_own_dead_session_goes_back_to_the_stored_one_once() -> None:
    story = (UNCLEAN, DeadlinePassed(), SILENT, DeadlinePassed(), SignedIn(), PortRefused(BUSY))
    assert commands_of(STATES[Phase.CONNECTED], *story) == [SAME, OTHER, SAME]
    assert commands_of(
        STATES[Phase.CONNECTED], *story, SignedIn(), PortRefused(BUSY), DeadlinePassed(), PortRefused(BUSY)
    ) == [SAME, OTHER, SAME, REQUEST]
    assert commands_of(STATES[Phase.CONNECTED], *story, SILENT, DeadlinePassed(), SignedIn(), PortRefused(BUSY)) == [
        SAME,
        OTHER,
        SAME,
        OTHER,
    ]


def test_an_ordinary_port_that_wins_meets_our_dead_session_and_then_waits_for_its_end() -> None:
    won = (SignedIn(reused_source=False), PortRefused(BUSY))
    story = (UNCLEAN, DeadlinePassed(), *won)
    assert commands_of(STATES[Phase.CONNECTED], *story) == [SAME, SAME]
    assert commands_of(STATES[Phase.CONNECTED], *story, *won, DeadlinePassed()) == [SAME, SAME, REQUEST]
    state = go(STATES[Phase.CONNECTED], *story, *won)
    assert (state.shown, state.reused_source) == (State.STANDBY, False)


def test_which_port_won_is_known_as_long_as_the_session_lasts() -> None:
    state = go(STATES[Phase.CONNECTED], UNCLEAN, DeadlinePassed(), SignedIn(), Granted(58115))
    assert state.reused_source is True
    assert go(state, lost(), DeadlinePassed()).reused_source is None
    assert go(STATES[Phase.DIALING], SignedIn()).reused_source is None


def test_a_port_refused_to_the_stored_source_port_is_standby() -> None:
    state = go(STATES[Phase.CONNECTED], UNCLEAN, DeadlinePassed(), SignedIn(), PortRefused(BUSY))

    assert (state.shown, state.attempts) == (State.STANDBY, 2)


def test_an_agent_that_starts_after_a_power_cut_dials_from_the_stored_source_port() -> None:
    assert commands_of(TunnelState(0.0), Started(reuse_source=True)) == [SAME]


def test_a_failed_dial_is_no_unclean_loss() -> None:
    assert commands_of(STATES[Phase.DIALING], lost(unclean=True), DeadlinePassed()) == [OTHER]


# --- local faults and files


def test_a_local_fault_holds_the_tunnel_and_is_no_dial() -> None:
    held = go(TunnelState(0.0), Started(), lost(IdentityUnreadable("others can read it", hint="chmod")))
    assert (held.phase, held.attempts) == (Phase.HELD, 0)
    assert held.reason is not None
    assert held.reason.code is ReasonCode.IDENTITY_UNREADABLE


def test_a_changed_file_ends_the_wait_after_a_local_fault_at_once() -> None:
    held = go(TunnelState(0.0), Started(), lost(IdentityUnreadable("others can read it", hint="chmod")))
    again, commands = take(held, FileChanged(), NOW, 0.5)
    assert (again.phase, commands) == (Phase.DIALING, (DIAL,))


def test_a_changed_file_after_a_refusal_does_not_make_the_agent_knock_without_a_pause() -> None:
    held = go(TunnelState(0.0), Started(), lost(REFUSED))
    waiting, commands = take(held, FileChanged(), NOW + 1, 0.5)
    assert (waiting.phase, commands) == (Phase.HELD, ())
    assert waiting.deadline == NOW + FILE_CHANGED_INTERVAL
    again, commands = take(held, FileChanged(), NOW + FILE_CHANGED_INTERVAL, 0.5)
    assert (again.phase, commands) == (Phase.DIALING, (DIAL,))


def test_a_file_that_changes_after_a_long_wait_is_tried_at_once_and_then_not_too_often() -> None:
    held = replace(STATES[Phase.HELD], attempted_at=NOW - 600, deadline=NOW + 300, slow_failures=6)
    dialing, commands = take(held, FileChanged(), NOW, 0.5)
    assert commands == (DIAL,)

    refused = go(dialing, lost(REFUSED), now=NOW + 1)
    waiting, commands = take(refused, FileChanged(), NOW + 11, 0.5)
    assert (waiting.deadline, commands) == (NOW + 30, ())
    dialing, commands = take(refused, FileChanged(), NOW + 30, 0.5)
    assert commands == (DIAL,)
    assert take(go(dialing, lost(REFUSED), now=NOW + 31), FileChanged(), NOW + 60, 0.5)[1] == ()
