"""Whose turn it is, of tunnels in all phases."""

from __future__ import annotations

from dataclasses import replace

from ioconnect.agent.tunnel.state import Phase, TunnelState
from ioconnect.agent.tunnel.turnstile import (
    BEFORE_REFUSALS,
    CROWDED_SLOTS,
    HUNG_PENALTY,
    LEAST_SLOTS,
    SLOTS,
    Candidate,
    Progress,
    turns,
)
from ioconnect.config.addresses import HostPort
from ioconnect.errors import ReasonCode, TooManyConnections, Unreachable

NOW = 1000.0
HERE, THERE = HostPort("jumphost.test", 50683), HostPort("other.test", 50683)


def queued(name: str, at: float = NOW, jumphost: HostPort = HERE, *, has_hung: bool = False) -> Candidate:
    state = TunnelState(0.0, Phase.QUEUED, queued_at=at, has_hung=has_hung)
    return Candidate(name, jumphost, state, Progress.NONE)


def dialing(count: int, progress: Progress = Progress.CONNECTED, *, since: float = NOW) -> list[Candidate]:
    state = TunnelState(0.0, Phase.DIALING, attempted_at=since)
    return [Candidate(f"dialing {number}", HERE, state, progress) for number in range(count)]


def in_phase(phase: Phase, count: int = 20) -> list[Candidate]:
    return [Candidate(f"{phase} {number}", HERE, TunnelState(0.0, phase), Progress.NONE) for number in range(count)]


def queue(count: int) -> list[Candidate]:
    return [queued(f"{number:03}") for number in range(count)]


def names(count: int, start: int = 0) -> tuple[str, ...]:
    return tuple(f"{number:03}" for number in range(start, start + count))


def test_few_dial_at_the_same_time_and_the_others_wait() -> None:
    assert turns(queue(50), NOW)[0] == names(SLOTS)
    assert turns([*dialing(SLOTS - 1), *queue(50)], NOW)[0] == names(1)
    assert turns([*dialing(SLOTS), *queue(50)], NOW)[0] == ()


def test_a_tunnel_alone_never_waits() -> None:
    assert turns([queued("a"), *in_phase(Phase.CONNECTED)], NOW) == (("a",), None)


def test_what_is_signed_in_or_waits_takes_no_slot() -> None:
    others = [each for phase in Phase if phase not in (Phase.DIALING, Phase.QUEUED) for each in in_phase(phase)]
    assert turns([*others, *queue(10)], NOW)[0] == names(SLOTS)


def test_another_jumphost_or_port_has_its_own_queue() -> None:
    others = [queued("there", jumphost=THERE), queued("port", jumphost=HostPort(HERE.host, 22))]
    assert turns([*dialing(SLOTS), *queue(3), *others], NOW)[0] == ("there", "port")


def test_first_come_first_served_but_those_that_hung_go_last() -> None:
    waiting = [queued("hung", NOW - 9, has_hung=True), queued("late", NOW - 1), queued("early", NOW - 2)]
    assert turns([*dialing(SLOTS - 2), *waiting], NOW)[0] == ("early", "late")
    assert turns([*dialing(SLOTS - 1), *waiting[:1]], NOW)[0] == ("hung",)
    # But not for ever: others may come all the time.
    patient = queued("hung", NOW - HUNG_PENALTY - 3, has_hung=True)
    assert turns([*dialing(SLOTS - 1), patient, *waiting[1:]], NOW)[0] == ("hung",)


def test_a_dial_that_never_connects_gives_its_slot_up_soon_and_counts_no_more() -> None:
    """However many there are: sshd does not see them."""
    hanging = dialing(40, Progress.NONE, since=NOW)
    soon = NOW + Progress.NONE.value
    assert turns([*hanging, *queue(50)], NOW) == ((), soon)
    assert turns([*hanging, *queue(50)], soon)[0] == names(SLOTS)


def test_a_connection_that_hangs_gives_its_slot_up_and_leaves_fewer_to_others() -> None:
    """As sshd counts it, until the dial ends; but a queue does not stand still for it."""
    for count in range(50):
        hanging = dialing(count, Progress.CONNECTED, since=NOW - 2.5)
        admitted, _ = turns([*hanging, *queue(50)], NOW)
        assert admitted == names(min(SLOTS, max(LEAST_SLOTS, BEFORE_REFUSALS - count)))


def test_a_sign_in_under_way_keeps_its_slot_longer() -> None:
    """As with a long round trip or a jumphost that is busy."""
    signing_in = dialing(SLOTS, Progress.HOST_KEY, since=NOW - 3)
    assert turns([*signing_in, *queue(1)], NOW) == ((), NOW + 1)
    assert turns([*signing_in, *queue(1)], NOW + 1)[0] == names(1)


def test_a_jumphost_that_turned_one_away_is_given_room() -> None:
    turned_away = in_phase(Phase.BACKOFF, 1)[0]
    crowded = replace(turned_away.state, reason=TooManyConnections("crowded", hint="wait").reason)
    assert crowded.reason is not None
    assert crowded.reason.code is ReasonCode.TOO_MANY_CONNECTIONS
    assert turns([replace(turned_away, state=crowded), *queue(20)], NOW)[0] == names(CROWDED_SLOTS)

    elsewhere = replace(turned_away, state=crowded, jumphost=THERE)
    unreachable = replace(turned_away, state=replace(crowded, reason=Unreachable("down", hint="").reason))
    assert turns([elsewhere, unreachable, *queue(20)], NOW)[0] == names(SLOTS)


def test_a_good_tunnel_waits_a_few_seconds_behind_fifty_that_hang() -> None:
    """Whether they get no connection or no banner, and whether they hung before or not."""
    for progress, patience in ((Progress.NONE, 10.0), (Progress.CONNECTED, 26.0)):
        assert waited_behind(50, progress, hung_before=False) <= patience
        assert waited_behind(50, progress, hung_before=True) <= Progress.CONNECTED.value


def waited_behind(count: int, progress: Progress, *, hung_before: bool) -> float:
    """Return how long a tunnel waits that comes last; slots that hang are given up by time alone."""
    hanging = {f"h{number}": queued(f"h{number}", NOW, has_hung=hung_before) for number in range(count)}
    good, now = queued("good", NOW + 0.001), NOW
    while True:
        admitted, ask_again = turns([*hanging.values(), good], now)
        if "good" in admitted:
            return now - NOW
        for name in admitted:
            state = TunnelState(0.0, Phase.DIALING, attempted_at=now)
            hanging[name] = replace(hanging[name], state=state, progress=progress)
        assert ask_again is not None
        assert ask_again > now or admitted
        now = max(now, ask_again)
